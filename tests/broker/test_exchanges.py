"""Routing: every exchange type against what its rules say, one binding at a time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twbridge.broker.exchanges import Binding, Exchange, route
from twbridge.broker.messages import Memory
from twbridge.broker.queues import Queue

words = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5)
keys = words.map(".".join)


def queue(name: str) -> Queue:
    return Queue(name, Memory(), Clock())


def matches(pattern: list[str], key: list[str]) -> bool:
    """The definition: # stands for any number of words, * for one."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return matches(pattern[1:], key) or (bool(key) and matches(pattern, key[1:]))
    return bool(key) and pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


def split(key: str) -> list[str]:
    return key.split(".") if key else []


class TopicTests(SynchronousTestCase):
    @given(st.lists(keys, max_size=8), keys)
    def test_a_message_follows_exactly_the_patterns_that_match(
        self, patterns: list[str], key: str
    ) -> None:
        exchange = Exchange("x", "topic")
        bound = {queue(pattern): pattern for pattern in dict.fromkeys(patterns)}
        for destination, pattern in bound.items():
            exchange.bind(Binding(destination, pattern))
        expected = {q.name for q, pattern in bound.items() if matches(split(pattern), split(key))}
        found = route(exchange, [key], {}, {})
        self.assertEqual({q.name for q in found}, expected)
        self.assertEqual(len(found), len(expected))

    @given(st.lists(keys, max_size=8), st.data())
    def test_an_unbound_pattern_leaves_the_others_as_they_were(
        self, patterns: list[str], data: st.DataObject
    ) -> None:
        exchange, fresh = Exchange("x", "topic"), Exchange("y", "topic")
        destination = queue("q")
        gone = data.draw(st.sets(st.sampled_from(patterns))) if patterns else set()
        for pattern in patterns:
            exchange.bind(Binding(destination, pattern))
            if pattern not in gone:
                fresh.bind(Binding(destination, pattern))
        for pattern in gone:
            self.assertTrue(exchange.unbind(Binding(destination, pattern)))
        key = data.draw(keys)
        self.assertEqual(
            route(exchange, [key], {}, {}), route(fresh, [key], {}, {}), (patterns, gone, key)
        )

    def test_many_hashes_do_not_multiply_the_work(self) -> None:
        exchange, destination = Exchange("x", "topic"), queue("q")
        exchange.bind(Binding(destination, ".".join(["#", "a"] * 60)))
        self.assertEqual(route(exchange, [".".join(["a"] * 120)], {}, {}), [destination])
        self.assertEqual(route(exchange, [".".join(["a"] * 59)], {}, {}), [])


class DirectAndFanoutTests(SynchronousTestCase):
    def test_direct_compares_the_whole_key(self) -> None:
        exchange, one, two = Exchange("x", "direct"), queue("one"), queue("two")
        exchange.bind(Binding(one, "a"))
        exchange.bind(Binding(two, "a"))
        exchange.bind(Binding(two, "a.*"))
        self.assertEqual(route(exchange, ["a"], {}, {}), [one, two])
        self.assertEqual(route(exchange, ["a.b"], {}, {}), [])

    def test_fanout_ignores_the_key_and_gives_each_queue_one(self) -> None:
        exchange, one = Exchange("x", "fanout"), queue("one")
        for key in ("a", "b"):
            exchange.bind(Binding(one, key))
        self.assertEqual(route(exchange, ["zzz"], {}, {}), [one])
        exchange.unbind(Binding(one, "a"))
        self.assertEqual(route(exchange, ["zzz"], {}, {}), [one])
        exchange.unbind(Binding(one, "b"))
        self.assertEqual(route(exchange, ["zzz"], {}, {}), [])

    def test_the_same_binding_twice_is_one(self) -> None:
        exchange, one = Exchange("x"), queue("one")
        self.assertTrue(exchange.bind(Binding(one, "a", {"n": [1, {"b": b"x"}]})))
        self.assertFalse(exchange.bind(Binding(one, "a", {"n": [1, {"b": b"x"}]})))
        self.assertTrue(exchange.bind(Binding(one, "a", {"n": [True, {"b": b"x"}]})))
        self.assertTrue(exchange.unbind(Binding(one, "a", {"n": [1, {"b": b"x"}]})))
        self.assertFalse(exchange.unbind(Binding(one, "a", {"n": [1, {"b": b"x"}]})))
        self.assertEqual(route(exchange, ["a"], {}, {}), [one])

    def test_more_keys_lead_to_more_queues_each_once(self) -> None:
        exchange, one, two = Exchange("x"), queue("one"), queue("two")
        exchange.bind(Binding(one, "a"))
        exchange.bind(Binding(one, "b"))
        exchange.bind(Binding(two, "b"))
        self.assertEqual(route(exchange, ["a", "b"], {}, {}), [one, two])


class HeadersTests(SynchronousTestCase):
    def found(self, pattern: dict[str, Any], headers: dict[str, Any]) -> bool:
        exchange, one = Exchange("x", "headers"), queue("one")
        exchange.bind(Binding(one, "", pattern))
        return bool(route(exchange, ["any key"], headers, {}))

    def test_all_is_the_default(self) -> None:
        self.assertTrue(self.found({"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 0}))
        self.assertFalse(self.found({"a": 1, "b": "x"}, {"a": 1}))
        self.assertFalse(self.found({"a": 1, "b": "x"}, {"a": 1, "b": "y"}))

    def test_any_wants_one(self) -> None:
        self.assertTrue(self.found({"x-match": "any", "a": 1, "b": 2}, {"a": 0, "b": 2}))
        self.assertFalse(self.found({"x-match": "any", "a": 1, "b": 2}, {"a": 0}))

    def test_nothing_to_match_is_all_but_not_any(self) -> None:
        self.assertTrue(self.found({"x-match": "all"}, {"a": 1}))
        self.assertFalse(self.found({"x-match": "any"}, {"a": 1}))

    def test_void_means_present(self) -> None:
        self.assertTrue(self.found({"a": None}, {"a": "whatever"}))
        self.assertFalse(self.found({"a": None}, {"b": 1}))

    def test_another_type_is_another_value(self) -> None:
        self.assertFalse(self.found({"a": 1}, {"a": True}))
        self.assertFalse(self.found({"a": 1}, {"a": "1"}))

    def test_x_keys_count_only_with_x(self) -> None:
        self.assertTrue(self.found({"x-match": "all", "x-a": 1, "b": 1}, {"b": 1}))
        self.assertFalse(self.found({"x-match": "all-with-x", "x-a": 1, "b": 1}, {"b": 1}))
        self.assertTrue(self.found({"x-match": "any-with-x", "x-a": 1}, {"x-a": 1}))
        self.assertFalse(self.found({"x-match": "any", "x-a": 1}, {"x-a": 1}))

    def test_unbound_is_gone(self) -> None:
        exchange, one = Exchange("x", "headers"), queue("one")
        exchange.bind(Binding(one, "", {"a": 1}))
        exchange.unbind(Binding(one, "", {"a": 1}))
        self.assertEqual(route(exchange, [""], {"a": 1}, {}), [])


class ExchangeToExchangeTests(SynchronousTestCase):
    def test_bindings_are_followed_through_exchanges(self) -> None:
        first, second, one = Exchange("first", "topic"), Exchange("second", "fanout"), queue("q")
        first.bind(Binding(second, "a.#"))
        second.bind(Binding(one, ""))
        self.assertEqual(route(first, ["a.b"], {}, {}), [one])
        self.assertEqual(route(first, ["b"], {}, {}), [])

    def test_a_circle_ends(self) -> None:
        first, second, one = Exchange("1", "fanout"), Exchange("2", "fanout"), queue("q")
        first.bind(Binding(second, ""))
        second.bind(Binding(first, ""))
        second.bind(Binding(one, ""))
        self.assertEqual(route(first, [""], {}, {}), [one])

    def test_the_alternate_exchange_takes_what_has_no_way(self) -> None:
        first = Exchange("1", "direct", arguments={"alternate-exchange": "2"})
        second, one, two = Exchange("2", "fanout"), queue("one"), queue("two")
        first.bind(Binding(one, "a"))
        second.bind(Binding(two, ""))
        known = {"1": first, "2": second}
        self.assertEqual(route(first, ["a"], {}, known), [one])
        self.assertEqual(route(first, ["b"], {}, known), [two])
        self.assertEqual(route(first, ["b"], {}, {"1": first}), [])
