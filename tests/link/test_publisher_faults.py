"""Publishing: no publish harms another, and every one ends."""

from __future__ import annotations

from pamqp import commands
from twisted.internet.defer import Deferred

from tests.link.publisher_case import PublisherCase
from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    EncodeError,
    NotReady,
    OutcomeUnknown,
)


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
