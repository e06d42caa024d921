"""Publishing: what becomes of each message is told, once, and no publish harms another."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from twisted.internet.defer import Deferred

from tests.link.cases import LinkCase
from twbridge.amqp import Link
from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    EncodeError,
    Nacked,
    NotReady,
    OutcomeUnknown,
    Unroutable,
)

MEGABYTE = 1024 * 1024


class PublisherCase(LinkCase):
    """A link whose pressure is watched."""

    def link(self, **options: Any) -> Link:
        link = super().link(**options)
        self.pressure: list[bool] = []
        link.on_pressure(self.pressure.append)
        return link

    def warm(self, link: Link, exchange: str = "e") -> int:
        """Publish and confirm one message, so that the exchange has a channel; return that."""
        done = link.publish(exchange, "warm", b"")
        self.broker.pump()
        session, channel = self.publishing, self.publishing.published[-1].channel
        session.ack(channel, session.tag_of(session.published[-1]))
        self.successResultOf(done)
        self.pressure.clear()
        return channel

    def bodies(self) -> list[bytes]:
        """What the broker has been sent on the present connection."""
        self.broker.pump()
        return [each.body for each in self.publishing.published]

    def publish(self, link: Link, *bodies: bytes, exchange: str = "e", **more: Any) -> list[Any]:
        deferreds = [link.publish(exchange, "k", body, **more) for body in bodies]
        for done in deferreds:  # those that the test leaves open
            self.addCleanup(done.addErrback, lambda _: None)
        self.broker.pump()
        return deferreds


class OutcomeTests(PublisherCase):
    """The Deferred of a publish fires when the broker has said what became of it."""

    def test_nothing_is_said_before_the_confirm(self) -> None:
        link = self.link()
        [done] = self.publish(link, b"x")
        self.assertNoResult(done)
        self.publishing.ack(self.publishing.published[0].channel, 1)
        self.assertIsNone(self.successResultOf(done))

    def test_the_message_is_sent_as_it_was_given(self) -> None:
        link = self.link()
        body = b"caf\xc3\xa9\x00\xff"
        done = link.publish("e", "é.k", body, {"headers": {"a": [1, None]}})
        done.addErrback(lambda _: None)
        self.broker.pump()
        [sent] = self.publishing.published
        self.assertEqual((sent.method.exchange, sent.method.routing_key), ("e", "é.k"))
        self.assertEqual(sent.body, body)
        self.assertEqual(sent.headers, {"a": [1, None]})
        self.assertFalse(sent.method.mandatory)
        self.assertFalse(sent.method.immediate)

    def test_confirms_in_any_order_go_to_their_own_messages(self) -> None:
        link = self.link()
        channel = self.warm(link)
        one, two, three = self.publish(link, b"1", b"2", b"3")
        self.publishing.ack(channel, 4)
        self.assertIsNone(self.successResultOf(three))
        self.publishing.nack(channel, 2)
        self.failed(one, Nacked)
        self.assertNoResult(two)
        self.publishing.ack(channel, 3)
        self.assertIsNone(self.successResultOf(two))

    def test_a_multiple_ack_is_for_all_up_to_its_tag(self) -> None:
        link = self.link()
        channel = self.warm(link)
        deferreds = self.publish(link, b"1", b"2", b"3", b"4")
        self.publishing.ack(channel, 3)
        self.publishing.ack(channel, 4, multiple=True)
        for done in deferreds[:3]:
            self.assertIsNone(self.successResultOf(done))
        self.assertNoResult(deferreds[3])
        self.publishing.ack(channel, 5, multiple=True)
        self.assertIsNone(self.successResultOf(deferreds[3]))

    def test_a_multiple_nack_is_for_all_up_to_its_tag(self) -> None:
        link = self.link()
        channel = self.warm(link)
        deferreds = self.publish(link, b"1", b"2", b"3")
        self.publishing.nack(channel, 3, multiple=True)
        self.failed(deferreds[0], Nacked)
        self.failed(deferreds[1], Nacked)
        self.assertNoResult(deferreds[2])

    def test_tag_zero_and_multiple_is_for_all_that_were_sent(self) -> None:
        link = self.link()
        channel = self.warm(link)
        deferreds = self.publish(link, b"1", b"2")
        self.publishing.ack(channel, 0, multiple=True)
        for done in deferreds:
            self.assertIsNone(self.successResultOf(done))

    def test_a_confirm_for_nothing_changes_nothing(self) -> None:
        link = self.link()
        channel = self.warm(link)
        for tag in (1, 7):
            self.publishing.ack(channel, tag)
            self.publishing.nack(channel, tag)
        self.publishing.ack(channel, 1000, multiple=True)
        self.publishing.ack(99, 1)
        one, two = self.publish(link, b"1", b"2")
        self.publishing.ack(channel, 2)
        self.assertIsNone(self.successResultOf(one))
        self.assertNoResult(two)
        self.publishing.ack(channel, 3, multiple=True)
        self.assertIsNone(self.successResultOf(two))

    def test_confirms_of_one_exchange_are_not_those_of_another(self) -> None:
        link = self.link()
        a, b = self.warm(link, "a"), self.warm(link, "b")
        self.assertNotEqual(a, b)
        [on_a] = self.publish(link, b"1", exchange="a")
        [on_b] = self.publish(link, b"2", exchange="b")
        self.publishing.ack(b, 2)
        self.assertIsNone(self.successResultOf(on_b))
        self.assertNoResult(on_a)
        self.publishing.ack(a, 2)
        self.successResultOf(on_a)

    def test_a_caller_that_cancels_does_not_disturb_the_rest(self) -> None:
        link = self.link()
        channel = self.warm(link)
        one, two = self.publish(link, b"1", b"2")
        one.addErrback(lambda _: "cancelled")
        one.cancel()
        self.publishing.ack(channel, 3, multiple=True)
        self.assertEqual(self.successResultOf(one), "cancelled")
        self.assertIsNone(self.successResultOf(two))

    def test_without_confirmations_written_is_success(self) -> None:
        link = self.link(confirmations=False, window=1)
        deferreds = self.publish(link, b"1", b"2", b"3")
        self.assertEqual(self.bodies(), [b"1", b"2", b"3"])
        for done in deferreds:
            self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.publishing.methods(commands.Confirm.Select), [])
        self.assertFalse(link.pressed)


class ReturnTests(PublisherCase):
    """A mandatory message that no queue took is Unroutable, and only that one."""

    def setUp(self) -> None:
        super().setUp()
        self.mandatory_link = self.link()
        self.channel = self.warm(self.mandatory_link)
        self.returned: list[Any] = []
        self.mandatory_link.on_return(self.returned.append)

    def send(self, *bodies: bytes, **properties: Any) -> list[Deferred[None]]:
        return self.publish(self.mandatory_link, *bodies, properties=properties, mandatory=True)

    def test_it_is_unroutable_with_the_words_of_the_broker(self) -> None:
        one, two = self.send(b"1", b"2")
        self.assertTrue(self.publishing.published[-1].method.mandatory)
        self.publishing.give_back(self.publishing.published[-1])
        self.publishing.ack(self.channel, 3, multiple=True)
        self.assertIsNone(self.successResultOf(one))
        error = self.failed(two, Unroutable)
        self.assertEqual((error.reply_code, error.reply_text), (312, "NO_ROUTE"))

    def test_it_is_told_before_the_ack_and_settled_by_it(self) -> None:
        [done] = self.send(b"body")
        self.publishing.give_back(self.publishing.published[-1])
        self.assertEqual([each.body for each in self.returned], [b"body"])
        self.assertEqual(self.returned[0].method.reply_text, "NO_ROUTE")
        self.assertNoResult(done)
        self.publishing.ack(self.channel, 2)
        self.failed(done, Unroutable)
        self.assertEqual(len(self.returned), 1)

    def test_of_equal_messages_the_oldest_is_returned_first(self) -> None:
        one, two, three = self.send(b"1", b"2", b"3", message_id="same")
        sent = self.publishing.published[-3:]
        self.publishing.give_back(sent[0])
        self.publishing.ack(self.channel, 2)
        self.failed(one, Unroutable)
        self.publishing.give_back(sent[1])
        self.publishing.ack(self.channel, 4, multiple=True)
        self.failed(two, Unroutable)
        self.assertIsNone(self.successResultOf(three))

    def test_equal_messages_may_all_be_returned_before_the_first_ack(self) -> None:
        one, two, three = self.send(b"1", b"2", b"3", message_id="same")
        for sent in self.publishing.published[-3:-1]:
            self.publishing.give_back(sent)
        self.publishing.ack(self.channel, 4, multiple=True)
        self.failed(one, Unroutable)
        self.failed(two, Unroutable)
        self.assertIsNone(self.successResultOf(three))

    def test_messages_that_differ_in_id_or_key_are_told_apart(self) -> None:
        [one] = self.send(b"1", message_id="a")
        [two] = self.send(b"2", message_id="b")
        three = self.mandatory_link.publish("e", "other", b"3", {"message_id": "a"}, mandatory=True)
        self.broker.pump()
        self.publishing.give_back(self.publishing.published[-1])
        self.publishing.give_back(self.publishing.published[-2])
        self.publishing.ack(self.channel, 4, multiple=True)
        self.assertIsNone(self.successResultOf(one))
        self.failed(two, Unroutable)
        self.failed(three, Unroutable)

    def test_a_message_without_an_id_is_matched_as_well(self) -> None:
        [done] = self.send(b"1", message_id=None)
        self.assertNotIn("message_id", self.publishing.published[-1].properties)
        self.publishing.give_back(self.publishing.published[-1])
        self.publishing.ack(self.channel, 2)
        self.failed(done, Unroutable)

    def test_a_return_that_matches_nothing_is_told_and_fails_nothing(self) -> None:
        sent = self.publishing.published[-1]
        [done] = self.send(b"1", message_id="mine")
        self.publishing.give_back(sent)
        self.publishing.ack(self.channel, 2)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(len(self.returned), 1)


class WindowTests(PublisherCase):
    """Unconfirmed messages are bounded, and publishers are told to pause."""

    def test_no_more_than_the_window_is_unconfirmed(self) -> None:
        link = self.link(window=3)
        channel = self.warm(link)
        bodies = [b"%d" % each for each in range(6)]
        self.publish(link, *bodies)
        self.assertEqual(self.bodies()[1:], bodies[:3])
        self.publishing.ack(channel, 2)
        self.assertEqual(self.bodies()[1:], bodies[:4])
        self.publishing.ack(channel, 5, multiple=True)
        self.assertEqual(self.bodies()[1:], bodies)

    def test_the_window_is_shared_by_all_exchanges(self) -> None:
        link = self.link(window=3)
        a = self.warm(link, "a")
        self.warm(link, "b")
        self.publish(link, b"1", b"2", exchange="a")
        self.publish(link, b"3", b"4", exchange="b")
        self.assertEqual(self.bodies()[2:], [b"1", b"2", b"3"])
        self.publishing.nack(a, 2)
        self.assertEqual(self.bodies()[2:], [b"1", b"2", b"3", b"4"])

    def test_who_publishes_when_told_of_a_confirm_does_not_overtake(self) -> None:
        link = self.link(window=1)
        channel = self.warm(link)
        first, _second = self.publish(link, b"1", b"2")
        first.addCallback(lambda _: self.publish(link, b"3"))
        self.publishing.ack(channel, 2)
        self.publishing.ack(channel, 3)
        self.assertEqual(self.bodies()[1:], [b"1", b"2", b"3"])

    def test_pressure_comes_with_a_full_window_and_goes_when_it_is_half_empty(self) -> None:
        link = self.link(window=4)
        channel = self.warm(link)
        self.publish(link, b"1", b"2", b"3")
        self.assertEqual((link.pressed, self.pressure), (False, []))
        self.publish(link, b"4")
        self.assertEqual((link.pressed, self.pressure), (True, [True]))
        self.publishing.ack(channel, 2)
        self.assertEqual((link.pressed, self.pressure), (True, [True]))
        self.publishing.ack(channel, 3)
        self.assertEqual((link.pressed, self.pressure), (False, [True, False]))
        self.publishing.ack(channel, 5, multiple=True)
        self.assertEqual(self.pressure, [True, False])

    def test_pressure_stays_while_messages_wait(self) -> None:
        link = self.link(window=2)
        channel = self.warm(link)
        self.publish(link, *[b"x"] * 5)
        for tag in (2, 3, 4):
            self.publishing.ack(channel, tag)
            self.assertEqual(self.pressure, [True], tag)
        self.publishing.ack(channel, 5)
        self.assertEqual(self.pressure, [True, False])

    def test_a_socket_that_does_not_drain_is_pressure(self) -> None:
        link = self.link()
        channel = self.warm(link)
        self.publishing.socket.full(True)
        [done] = self.publish(link, b"later")
        self.assertEqual(self.bodies(), [b""])
        self.assertTrue(link.pressed)
        self.publishing.socket.full(False)
        self.assertEqual(self.bodies(), [b"", b"later"])
        self.assertFalse(link.pressed)
        self.publishing.ack(channel, 2)
        self.successResultOf(done)

    def test_a_blocked_broker_is_sent_nothing_and_then_everything(self) -> None:
        link = self.link()
        channel = self.warm(link)
        self.publishing.send(0, commands.Connection.Blocked("low on memory"))
        self.assertEqual(link.state, "blocked")
        self.assertIn("low on memory", link.state_description)
        self.assertFalse(link.pressed)
        one, two = self.publish(link, b"1", b"2")
        self.assertEqual((self.bodies(), link.pressed), ([b""], True))
        self.publishing.send(0, commands.Connection.Unblocked())
        self.assertEqual((self.bodies(), link.pressed), ([b"", b"1", b"2"], False))
        self.assertEqual(link.state, "ready")
        self.publishing.ack(channel, 3, multiple=True)
        self.successResultOf(one)
        self.successResultOf(two)

    def test_a_link_that_is_down_with_messages_waiting_is_pressure(self) -> None:
        link = self.link(start=False)
        self.assertFalse(link.pressed)
        done = link.publish("e", "k", b"1")
        self.assertEqual((link.pressed, self.pressure), (True, [True]))
        link.start()
        self.broker.pump()
        self.assertEqual((link.pressed, self.pressure), (False, [True, False]))
        self.publishing.ack(1, 1)
        self.successResultOf(done)

    def test_bytes_that_wait_are_bounded(self) -> None:
        link = self.link(start=False)
        body = b"x" * (16 * MEGABYTE)
        one, two = link.publish("e", "k", body), link.publish("f", "k", body)
        self.assertNoResult(one)
        self.assertNoResult(two)
        self.failed(link.publish("e", "k", b"x"), NotReady)
        link.start()
        self.broker.confirming = True
        self.broker.pump()
        self.successResultOf(one)
        self.successResultOf(two)
        self.publishing.send(0, commands.Connection.Blocked("alarm"))
        again = [link.publish("e", "k", body), link.publish("e", "k", body)]
        self.failed(link.publish("e", "k", b"x"), NotReady)
        self.publishing.send(0, commands.Connection.Unblocked())
        self.broker.pump()
        for done in again:
            self.successResultOf(done)

    def test_one_message_may_be_larger_than_that(self) -> None:
        link = self.link()
        self.broker.confirming = True
        [done] = self.publish(link, b"x" * (33 * MEGABYTE))
        self.successResultOf(done)

    @settings(max_examples=60)
    @given(
        st.lists(
            st.one_of(
                st.sampled_from(["a", "b", "c"]),
                st.tuples(st.integers(0, 5), st.booleans(), st.booleans()),
            ),
            max_size=40,
        ),
        st.integers(1, 4),
        st.integers(1, 3),
    )
    def test_whatever_happens_order_and_window_hold_and_each_is_told_once(
        self, steps: list[Any], window: int, channels: int
    ) -> None:
        self.setUp()
        link = self.link(window=window, channels=channels)
        outcomes: dict[bytes, list[Any]] = {}
        asked: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
        open_tags: dict[int, list[int]] = {}
        counted = 0

        def look() -> None:
            nonlocal counted
            self.broker.pump()
            for sent in self.publishing.published[counted:]:
                tags = open_tags.setdefault(sent.channel, [])
                tags.append(self.publishing.tag_of(sent))
                counted += 1
            self.assertLessEqual(sum(map(len, open_tags.values())), window)

        def confirm(which: int, multiple: bool, ack: bool) -> None:
            waiting = [channel for channel, tags in sorted(open_tags.items()) if tags]
            if waiting:
                channel = waiting[which % len(waiting)]
                tags = open_tags[channel]
                tag = tags[which % len(tags)]
                open_tags[channel] = (
                    [each for each in tags if each > tag]
                    if multiple
                    else [each for each in tags if each != tag]
                )
                (self.publishing.ack if ack else self.publishing.nack)(channel, tag, multiple)

        for step in steps:
            if isinstance(step, str):
                body = b"%d" % len(outcomes)
                asked[step].append(body)
                outcomes[body] = self.outcome_of(link.publish(step, "k", body))
            else:
                confirm(*step)
            look()
        for _ in range(2 * len(steps)):
            confirm(0, True, True)
            look()
        for exchange, bodies in asked.items():
            sent = [e.body for e in self.publishing.published if e.method.exchange == exchange]
            self.assertEqual(sent, bodies)
        self.assertEqual([len(each) for each in outcomes.values()], [1] * len(outcomes))
        self.assertFalse(link.pressed)
        self.doCleanups()


class IsolationTests(PublisherCase):
    """A bad publish does not take others with it."""

    def test_a_missing_exchange_is_told_with_its_code(self) -> None:
        self.broker.missing = {"nope"}
        link = self.link()
        one, two = self.publish(link, b"1", b"2", exchange="nope")
        for done in (one, two):
            error = self.failed(done, ChannelClosed)
            self.assertEqual((error.reply_code, error.code), (404, "not_found"))
        self.assertEqual(self.bodies(), [])

    def test_a_missing_exchange_does_not_harm_what_is_in_flight_elsewhere(self) -> None:
        self.broker.missing = {"nope"}
        link = self.link()
        channel = self.warm(link)
        [good] = self.publish(link, b"good")
        [bad] = self.publish(link, b"bad", exchange="nope")
        self.failed(bad, ChannelClosed)
        self.assertNoResult(good)
        self.publishing.ack(channel, 2)
        self.assertIsNone(self.successResultOf(good))
        self.assertEqual(link.state, "ready")
        self.assertEqual(len(self.broker.sessions), 2)

    def test_an_exchange_that_is_made_later_can_be_published_to(self) -> None:
        self.broker.missing = {"late"}
        link = self.link()
        [bad] = self.publish(link, b"bad", exchange="late")
        self.failed(bad, ChannelClosed)
        self.broker.missing.clear()
        self.broker.confirming = True
        [good] = self.publish(link, b"good", exchange="late")
        self.assertIsNone(self.successResultOf(good))

    def test_who_publishes_again_when_told_of_a_missing_exchange_is_judged_anew(self) -> None:
        self.broker.missing = {"late"}
        self.broker.confirming = True
        link = self.link()

        def again(_: object) -> Deferred[None]:
            self.broker.missing.clear()
            return link.publish("late", "k", b"again")

        done = link.publish("late", "k", b"x").addErrback(again)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.bodies(), [b"again"])

    def test_an_exchange_deleted_under_one_message_is_told_with_its_code(self) -> None:
        link = self.link()
        channel = self.warm(link)
        [done] = self.publish(link, b"1")
        self.publishing.close_channel(channel)
        self.assertEqual(self.failed(done, ChannelClosed).reply_code, 404)

    def test_of_several_messages_on_a_closed_channel_nobody_knows(self) -> None:
        link = self.link()
        channel = self.warm(link)
        deferreds = self.publish(link, b"1", b"2")
        self.publishing.close_channel(channel, 406, "PRECONDITION_FAILED")
        for done in deferreds:
            self.assertIn("406", str(self.failed(done, OutcomeUnknown)))
        self.broker.confirming = True
        [after] = self.publish(link, b"3")
        self.assertIsNone(self.successResultOf(after))

    def test_what_waits_for_a_closed_channel_goes_by_a_new_one(self) -> None:
        link = self.link(window=1)
        channel = self.warm(link)
        one, two = self.publish(link, b"1", b"2")
        self.publishing.close_channel(channel)
        self.failed(one, ChannelClosed)
        self.broker.confirming = True
        self.broker.pump()
        self.assertEqual(self.bodies(), [b"", b"1", b"2"])
        self.assertIsNone(self.successResultOf(two))

    def test_the_default_exchange_is_not_asked_for(self) -> None:
        self.broker.missing = {""}
        self.broker.confirming = True
        link = self.link()
        [done] = self.publish(link, b"x", exchange="")
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.publishing.methods(commands.Exchange.Declare), [])


class EncodingTests(PublisherCase):
    """What can't be encoded fails its own publish; the connection and the tags go on."""

    def test_it_fails_at_once_and_the_next_confirm_is_for_the_next_message(self) -> None:
        link = self.link()
        channel = self.warm(link)
        bad: list[Deferred[None]] = [
            link.publish("e", "k", b"", {"headers": {"x": object()}}),
            link.publish("e", "k", b"", {"persistent": True}),
            link.publish("e", "k", b"", {"delivery_mode": "2"}),
            link.publish("e", "é" * 128, b""),
            link.publish("e", "\ud800", b""),
            link.publish("x" * 256, "k", b""),
            link.publish("e", "k", b"", {"headers": {"x": "y" * 131072}}),
        ]
        for done in bad:
            self.failed(done, EncodeError)
        [good] = self.publish(link, b"good")
        self.assertEqual(self.bodies(), [b"", b"good"])
        self.publishing.ack(channel, 2)
        self.assertIsNone(self.successResultOf(good))
        self.assertFalse(link.pressed)

    def test_headers_that_turn_out_too_large_do_not_keep_a_place_in_the_window(self) -> None:
        link = self.link(start=False, window=1)
        bad = link.publish("e", "k", b"", {"headers": {"x": "y" * 131072}})
        good = link.publish("e", "k", b"good")
        self.broker.confirming = True
        link.start()
        self.broker.pump()
        self.failed(bad, EncodeError)
        self.assertIsNone(self.successResultOf(good))
        self.assertFalse(link.pressed)


class LaneTests(PublisherCase):
    """A channel for each exchange, and not more than that many."""

    def closed(self) -> list[int]:
        """The channels that the client has closed."""
        self.broker.pump()
        return [
            event.channel
            for event in self.publishing.heard
            if isinstance(getattr(event, "method", None), commands.Channel.Close)
        ]

    def test_one_exchange_uses_one_channel(self) -> None:
        self.broker.confirming = True
        link = self.link()
        for _ in range(3):
            self.publish(link, b"1", b"2")
        self.assertEqual(len(self.publishing.methods(commands.Channel.Open)), 1)
        self.assertEqual(len(self.publishing.methods(commands.Confirm.Select)), 1)

    def test_the_least_recently_used_is_closed(self) -> None:
        link = self.link(channels=2)
        a, b = self.warm(link, "a"), self.warm(link, "b")
        self.warm(link, "a")
        self.assertEqual(self.closed(), [])
        self.warm(link, "c")
        self.assertEqual(self.closed(), [b])
        self.warm(link, "d")
        self.assertEqual(self.closed(), [b, a])

    def test_one_that_has_something_in_flight_is_kept(self) -> None:
        link = self.link(channels=1)
        a = self.warm(link, "a")
        [on_a] = self.publish(link, b"1", exchange="a")
        [on_b] = self.publish(link, b"2", exchange="b")
        self.assertEqual(self.closed(), [])
        self.publishing.ack(a, 2)
        self.assertIsNone(self.successResultOf(on_a))
        self.publishing.ack(self.publishing.published[-1].channel, 1)
        self.assertIsNone(self.successResultOf(on_b))

    def test_many_exchanges_one_after_another_leave_few_channels(self) -> None:
        self.broker.confirming = True
        link = self.link(channels=3)
        for number in range(20):
            self.publish(link, b"x", exchange=f"e{number}")
        opened = len(self.publishing.methods(commands.Channel.Open))
        self.assertEqual(opened - len(self.closed()), 3)
        self.assertLessEqual(max(each.channel for each in self.publishing.published), 4)


class DeadlineTests(PublisherCase):
    """Every publish ends, in time."""

    def test_unsent_in_time_is_not_ready(self) -> None:
        self.broker.unreachable = {"broker"}
        link = self.link(timeout=10.0)
        done = link.publish("e", "k", b"x")
        self.pass_time(9.75)
        self.assertNoResult(done)
        self.pass_time(0.5)
        self.failed(done, NotReady)
        self.assertFalse(link.pressed)

    def test_not_ready_means_that_it_is_never_sent(self) -> None:
        self.broker.unreachable = {"broker"}
        link = self.link(timeout=1.0)
        late = link.publish("e", "k", b"late")
        kept = link.publish("e", "k", b"kept", timeout=60)
        early = link.publish("e", "k", b"early", timeout=0.5)
        self.pass_time(2)
        self.failed(late, NotReady)
        self.failed(early, NotReady)
        self.assertNoResult(kept)
        self.broker.unreachable.clear()
        self.broker.confirming = True
        self.pass_time(10)
        self.assertIsNone(self.successResultOf(kept))
        self.assertEqual(self.bodies(), [b"kept"])

    def test_blocked_for_too_long_is_not_ready(self) -> None:
        link = self.link(timeout=2)
        self.warm(link)
        self.publishing.send(0, commands.Connection.Blocked("alarm"))
        [done] = self.publish(link, b"x")
        self.pass_time(2.5)
        self.failed(done, NotReady)
        self.publishing.send(0, commands.Connection.Unblocked())
        self.assertEqual(self.bodies(), [b""])

    def test_sent_but_unconfirmed_in_time_is_a_confirm_timeout(self) -> None:
        link = self.link(timeout=2)
        channel = self.warm(link)
        [done] = self.publish(link, b"x")
        [patient] = self.publish(link, b"y", timeout=50)
        self.pass_time(1.75)
        self.assertNoResult(done)
        self.pass_time(0.5)
        error = self.failed(done, ConfirmTimeout)
        self.assertIsInstance(error, OutcomeUnknown)
        self.assertNoResult(patient)
        self.publishing.ack(channel, 3, multiple=True)
        self.assertIsNone(self.successResultOf(patient))

    def test_a_late_confirm_gives_its_place_in_the_window_back(self) -> None:
        link = self.link(timeout=1, window=1)
        channel = self.warm(link)
        [done] = self.publish(link, b"1")
        self.pass_time(1.5)
        self.failed(done, ConfirmTimeout)
        self.assertTrue(link.pressed)
        self.publishing.ack(channel, 2)
        self.assertFalse(link.pressed)
        [after] = self.publish(link, b"2")
        self.publishing.ack(channel, 3)
        self.assertIsNone(self.successResultOf(after))

    def test_who_publishes_again_when_told_gets_its_own_deadline(self) -> None:
        link = self.link(timeout=1)
        self.warm(link)
        retried: list[Deferred[None]] = []

        def again(_: object) -> None:
            for exchange in ("e", "other"):
                retried.append(link.publish(exchange, "k", b"again"))

        for exchange in ("e", "f"):
            [done] = self.publish(link, b"x", exchange=exchange)
            done.addErrback(again)
        self.pass_time(1.5)
        self.assertEqual(len(retried), 4)
        self.pass_time(1.5)
        for done in retried:
            self.failed(done, ConfirmTimeout)


class LossTests(PublisherCase):
    """The connection goes, the messages do not get lost in silence."""

    def test_sent_and_unconfirmed_is_unknown_and_is_not_sent_again(self) -> None:
        link = self.link()
        self.warm(link)
        [done] = self.publish(link, b"x")
        self.publishing.drop()
        self.failed(done, OutcomeUnknown)
        self.pass_time(5)
        self.assertEqual(link.state, "ready")
        self.assertEqual(self.bodies(), [])

    def test_unsent_waits_and_is_sent_once_in_order_on_the_next_connection(self) -> None:
        link = self.link(window=1)
        self.warm(link)
        first, *rest = self.publish(link, b"1", b"2", b"3", timeout=60)
        self.publishing.drop()
        self.failed(first, OutcomeUnknown)
        self.broker.confirming = True
        self.pass_time(5)
        for done in rest:
            self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.bodies(), [b"2", b"3"])

    def test_confirms_begin_at_one_again_on_the_next_connection(self) -> None:
        link = self.link()
        self.warm(link)
        self.publish(link, b"1")[0].addErrback(lambda _: None)
        self.publishing.drop()
        self.pass_time(5)
        [done] = self.publish(link, b"2")
        self.publishing.ack(self.publishing.published[0].channel, 1)
        self.assertIsNone(self.successResultOf(done))

    def test_lost_while_its_channel_is_opened_it_is_sent_after(self) -> None:
        link = self.link()
        self.broker.silent = {commands.Confirm.Select}
        [done] = self.publish(link, b"1")
        self.assertEqual(self.bodies(), [])
        self.publishing.drop()
        self.broker.silent.clear()
        self.broker.confirming = True
        self.pass_time(5)
        self.assertIsNone(self.successResultOf(done))

    def test_a_link_that_stops_settles_what_is_in_flight_first(self) -> None:
        link = self.link()
        channel = self.warm(link)
        [done] = self.publish(link, b"1")
        stopped = link.stop()
        self.pass_time(1)
        self.assertNoResult(stopped)
        self.publishing.ack(channel, 2)
        self.assertIsNone(self.successResultOf(done))
        self.pass_time(1)
        self.assertIsNone(self.successResultOf(stopped))

    def test_a_link_that_stops_does_not_wait_for_ever(self) -> None:
        link = self.link(timeout=3)
        self.warm(link)
        [sent] = self.publish(link, b"1", timeout=100)
        stopped = link.stop()
        self.pass_time(4)
        self.assertIsNone(self.successResultOf(stopped))
        self.failed(sent, OutcomeUnknown)
        self.failed(link.publish("e", "k", b""), NotReady)


class DefaultsTests(PublisherCase):
    """Properties that every message has unless the caller says otherwise."""

    def sent(self, properties: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        self.broker.confirming = True
        name = f"link {len(self.broker.sessions)}"
        link = self.link(name=name, **options)
        done = link.publish("e", "k", b"", properties)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        return dict(self.broker.named(f"{name} publish").published[-1].properties)

    def test_they_are_durable_named_and_dated(self) -> None:
        before = int(time.time())
        properties = self.sent(app_id="ours")
        self.assertEqual(set(properties), {"delivery_mode", "message_id", "timestamp", "app_id"})
        self.assertEqual((properties["delivery_mode"], properties["app_id"]), (2, "ours"))
        self.assertLessEqual(before, properties["timestamp"])
        self.assertLessEqual(properties["timestamp"], int(time.time()))

    def test_they_never_override_the_callers(self) -> None:
        mine = {
            "delivery_mode": 1,
            "message_id": "mine",
            "timestamp": 7,
            "app_id": "me",
            "content_type": "text/plain",
            "priority": 3,
        }
        self.assertEqual(self.sent(mine), mine)
        self.assertEqual(self.sent({"delivery_mode": 1})["delivery_mode"], 1)

    def test_a_content_type_alone_keeps_the_defaults(self) -> None:
        for kind in ("text/plain; charset=utf-8", "", "é"):
            properties = self.sent({"content_type": kind})
            self.assertEqual(properties.pop("content_type"), kind)
            self.assertEqual(
                set(properties), {"delivery_mode", "message_id", "timestamp", "app_id"}
            )

    def test_none_leaves_a_default_out(self) -> None:
        for name in ("delivery_mode", "message_id", "timestamp", "app_id"):
            self.assertNotIn(name, self.sent({name: None}))
        self.assertNotIn("content_type", self.sent({"content_type": None}))

    def test_the_callers_properties_are_not_changed(self) -> None:
        mine = {"priority": 1, "headers": {"a": 1}}
        self.sent(mine)
        self.assertEqual(mine, {"priority": 1, "headers": {"a": 1}})

    def test_message_ids_are_unique_over_links(self) -> None:
        self.broker.confirming = True
        found = []
        for name in ("one", "two"):
            link = self.link(name=name)
            for number in range(50):
                extra: dict[str, Any] | None = [None, {}, {"priority": 1}, {"content_type": "a"}][
                    number % 4
                ]
                link.publish("e", "k", b"", extra)
            self.broker.pump()
            session = self.broker.named(f"{name} publish")
            found += [each.properties["message_id"] for each in session.published]
        self.assertEqual(len(found), 100)
        self.assertEqual(len(set(found)), 100)
