"""Publishing: the window, pressure, and the channels of exchanges."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from tests.link.publisher_case import PublisherCase
from twbridge.errors import (
    NotReady,
)
from twbridge.link.publisher import PRESSING

MEGABYTE = 1024 * 1024


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
        link = self.link(window=2)
        channel = self.warm(link)
        self.publishing.socket.full(True)
        [done, _] = self.publish(link, b"later", b"and later")
        self.assertEqual(self.bodies(), [b""])
        self.assertTrue(link.pressed)
        self.publishing.socket.full(False)
        self.assertEqual(self.bodies(), [b"", b"later", b"and later"])
        self.publishing.ack(channel, 3, multiple=True)
        self.assertFalse(link.pressed)
        self.successResultOf(done)

    def test_a_blocked_broker_is_sent_nothing_and_then_everything(self) -> None:
        link = self.link()
        channel = self.warm(link)
        self.publishing.send(0, commands.Connection.Blocked("low on memory"))
        self.assertEqual(link.state, "blocked")
        self.assertIn("low on memory", link.state_description)
        self.assertFalse(link.pressed)
        one, two = self.publish(link, b"1", b"2")
        self.assertEqual(self.bodies(), [b""])
        self.publishing.send(0, commands.Connection.Unblocked())
        self.assertEqual((self.bodies(), link.pressed), ([b"", b"1", b"2"], False))
        self.assertEqual(link.state, "ready")
        self.publishing.ack(channel, 3, multiple=True)
        self.successResultOf(one)
        self.successResultOf(two)

    def test_a_link_that_is_down_is_pressure_when_a_window_of_messages_waits(self) -> None:
        link = self.link(start=False, window=2)
        [done] = self.publish(link, b"1")
        self.assertEqual((link.pressed, self.pressure), (False, []))
        self.publish(link, b"2")
        self.assertEqual((link.pressed, self.pressure), (True, [True]))
        link.start()
        self.broker.pump()
        self.publishing.ack(1, 1)
        self.assertEqual((link.pressed, self.pressure), (False, [True, False]))
        self.successResultOf(done)

    def test_many_bytes_that_wait_are_pressure_too(self) -> None:
        link = self.link(start=False)
        self.publish(link, bytes(PRESSING - 1))
        self.assertEqual(self.pressure, [])
        self.publish(link, b"1")
        self.assertEqual((link.pressed, self.pressure), (True, [True]))
        link.start()
        self.broker.pump()
        self.assertEqual((link.pressed, self.pressure), (False, [True, False]))

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

    def test_after_a_burst_to_many_exchanges_few_channels_stay(self) -> None:
        link = self.link(channels=3)
        for number in range(20):
            self.publish(link, b"x", exchange=f"e{number}")
        self.assertEqual(self.closed(), [])
        for each in self.publishing.published:
            self.publishing.ack(each.channel, 1)
        self.pass_time(1)
        self.assertEqual(len(self.closed()), 17)

    def test_many_exchanges_one_after_another_leave_few_channels(self) -> None:
        self.broker.confirming = True
        link = self.link(channels=3)
        for number in range(20):
            self.publish(link, b"x", exchange=f"e{number}")
        opened = len(self.publishing.methods(commands.Channel.Open))
        self.assertEqual(opened - len(self.closed()), 3)
        self.assertLessEqual(max(each.channel for each in self.publishing.published), 4)
