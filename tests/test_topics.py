"""Topic patterns against a plain model: every key of a small alphabet, tried one by one."""

from __future__ import annotations

import time
from functools import cache
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.topics import Trie, compile_pattern, covers, words

LETTERS = ("a", "b", "")
patterns = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5).map(".".join)
keys = st.lists(st.sampled_from(LETTERS), max_size=6).map(".".join)


def model(pattern: tuple[str, ...], key: tuple[str, ...]) -> bool:
    """The definition, word by word."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return model(rest, key) or (bool(key) and model(pattern, key[1:]))
    return bool(key) and first in ("*", key[0]) and model(rest, key[1:])


@cache
def matched(pattern: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    """Every key up to six words that matches; "c" stands for words that no pattern names."""
    every = (key for size in range(7) for key in product("abc", repeat=size))
    return frozenset(key for key in every if model(pattern, key))


class CompilePatternTests(SynchronousTestCase):
    def test_table_of_the_rabbitmq_tutorial(self) -> None:
        for pattern, yes, no in (
            ("*.orange.*", ["quick.orange.rabbit"], ["orange", "quick.orange.new.rabbit"]),
            ("*.*.rabbit", ["lazy.orange.rabbit"], ["rabbit", "a.b.c.rabbit"]),
            ("lazy.#", ["lazy", "lazy.pink.rabbit"], ["lazyness", "lazyness.a"]),
            ("#", ["", "a", "a.b"], []),
            ("", [""], ["a"]),
            ("*", ["a"], ["", "a.b"]),
            ("a.#.b", ["a.b", "a.x.y.b"], ["a", "b", "a.b.c"]),
            ("#.*", ["a", "a.b"], [""]),
        ):
            matches = compile_pattern(pattern)
            self.assertEqual([key for key in yes + no if matches(key)], yes, pattern)

    @given(patterns, keys)
    def test_matches_what_the_definition_matches(self, pattern: str, key: str) -> None:
        wanted = model(tuple(words(pattern)), tuple(words(key)))
        self.assertEqual(compile_pattern(pattern)(key), wanted)

    def test_a_costly_pattern_is_matched_in_bounded_time(self) -> None:
        matches = compile_pattern(".".join(["#", "a"] * 40 + ["b"]))
        before = time.process_time()
        self.assertFalse(matches(".".join(["a"] * 127)))
        self.assertLess(time.process_time() - before, 1.0)


class CoversTests(SynchronousTestCase):
    def test_a_pattern_covers_itself_and_what_is_narrower(self) -> None:
        for allowed, requested in (
            ("chat.#", "chat.#"),
            ("chat.#", "chat"),
            ("chat.#", "chat.*.a"),
            ("*.#", "#.*"),
            ("*.#.a", "#.a.a"),
            ("#.*.*", "*.#.*"),
            ("#", "#.#.*"),
        ):
            self.assertTrue(covers(allowed, requested), (allowed, requested))

    def test_a_pattern_does_not_cover_what_is_wider(self) -> None:
        for allowed, requested in (
            ("chat.a", "chat.*"),
            ("chat.*", "chat.#"),
            ("*.#", "#"),
            ("chat.#", "#"),
            ("chat.#", "*.#"),
            ("a.#.b", "a.#"),
            ("*", ""),
        ):
            self.assertFalse(covers(allowed, requested), (allowed, requested))

    @given(
        st.lists(st.sampled_from("ab*#"), max_size=3),
        st.lists(st.sampled_from("ab*#"), max_size=3),
    )
    def test_covers_is_inclusion_of_what_they_match(
        self, allowed: list[str], requested: list[str]
    ) -> None:
        wanted = matched(tuple(requested)) <= matched(tuple(allowed))
        self.assertEqual(covers(".".join(allowed), ".".join(requested)), wanted)

    @given(patterns, patterns, keys)
    def test_what_is_covered_is_matched(self, allowed: str, requested: str, key: str) -> None:
        if covers(allowed, requested) and compile_pattern(requested)(key):
            self.assertTrue(compile_pattern(allowed)(key))

    def test_a_costly_request_is_answered_in_bounded_time(self) -> None:
        before = time.process_time()
        covers("#.a." + ".".join("*" * 20), ".".join("a*#" * 40))
        covers(".".join(["#", "a"] * 30), ".".join(["#", "a"] * 40))
        self.assertLess(time.process_time() - before, 3.0)


class TrieTests(SynchronousTestCase):
    @given(st.lists(patterns, unique=True, max_size=8), keys)
    def test_finds_each_pattern_that_matches_once(self, some: list[str], key: str) -> None:
        trie: Trie[str] = Trie()
        for pattern in some:
            trie.add(pattern, pattern)
        wanted = [each for each in some if model(tuple(words(each)), tuple(words(key)))]
        self.assertEqual(sorted(trie.match(key)), sorted(wanted))

    @given(st.lists(patterns, unique=True, min_size=1, max_size=8), keys, st.data())
    def test_what_is_removed_is_not_found_and_the_rest_is(
        self, some: list[str], key: str, data: st.DataObject
    ) -> None:
        trie: Trie[str] = Trie()
        for pattern in some:
            trie.add(pattern, pattern)
        gone = data.draw(st.sets(st.sampled_from(some)))
        for pattern in gone:
            trie.remove(pattern)
        left = [each for each in some if each not in gone]
        wanted = [each for each in left if model(tuple(words(each)), tuple(words(key)))]
        self.assertEqual(sorted(trie.match(key)), sorted(wanted))

    def test_nothing_stays_of_what_is_removed(self) -> None:
        trie: Trie[int] = Trie()
        trie.add("a.b", 1)
        trie.add("a.b.#.c", 2)
        trie.remove("a.b.#.c")
        self.assertEqual(trie.match("a.b"), [1])
        trie.remove("a.b")
        self.assertEqual(trie._root.children, {})
        self.assertRaises(KeyError, trie.remove, "a")

    def test_words_of_a_key_that_look_like_wildcards_are_just_words(self) -> None:
        trie: Trie[str] = Trie()
        for pattern in ("*", "#", "a"):
            trie.add(pattern, pattern)
        self.assertEqual(sorted(trie.match("*")), ["#", "*"])
        self.assertEqual(sorted(trie.match("#")), ["#", "*"])

    def test_many_patterns_cost_a_look_up_nothing(self) -> None:
        trie: Trie[int] = Trie()
        for number in range(20_000):
            trie.add(f"user.{number}.#", number)
        before = time.process_time()
        for _ in range(1000):
            self.assertEqual(trie.match("user.777.x.y"), [777])
        self.assertLess(time.process_time() - before, 0.5)
