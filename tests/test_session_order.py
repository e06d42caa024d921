"""One client, in a dialect that keeps order: a publish waits for what was subscribed before it."""

from __future__ import annotations

from typing import Any

from tests.fakes import delivery
from tests.session_case import FakeChecker, SessionCase
from twbridge.commands import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    Ping,
    Pong,
    Publish,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from twbridge.destinations import parse
from twbridge.errors import ChannelClosed
from twbridge.link.topology import Queue
from twbridge.ports import Limits

TOPIC, JOBS = parse("/topic/a"), parse("/queue/jobs")
REFUSED = ChannelClosed(403, "ACCESS_REFUSED")


def publish(identity: str, **more: Any) -> Publish:
    return Publish(identity, TOPIC, b"", {}, **more)


def request(identity: str) -> Publish:
    queue = Queue("twbridge.reply.x", durable=True, exclusive=False, auto_delete=False)
    return publish(identity, reply=Subscribe(None, parse("/temp-queue/b"), name="b", queue=queue))


class OrderTests(SessionCase):
    limits = Limits()

    def setUp(self) -> None:
        super().setUp()
        self.checker = FakeChecker()
        self.session = self.scripted(self.checker)
        self.codec.ordered = True
        self.link.held = True

    @property
    def published(self) -> int:
        return len(self.link.published)

    def test_a_publish_waits_for_it_and_all_that_follows_waits_behind(self) -> None:
        self.assertEqual(
            self.ask(self.session, Subscribe(1, TOPIC), Ping(2), publish("p"), Ping(3)), [Pong(2)]
        )
        self.assertEqual(self.ask(self.session, Subscribe(4, JOBS), Ping(5)), [])
        self.assertEqual((self.published, self.transport.reading), (0, False))
        self.assertEqual(len(self.link.consumers), 1)
        self.link.release()
        self.assertEqual(
            self.codec.told(), [Subscribed(1, TOPIC), Pong(3), Subscribed(4, JOBS), Pong(5)]
        )
        self.assertEqual((self.published, self.transport.reading), (1, True))

    def test_subscriptions_do_not_wait_for_each_other_but_it_waits_for_all(self) -> None:
        self.ask(self.session, Subscribe(1, TOPIC, name="x"), Subscribe(2, JOBS), publish("p"))
        first, second = self.link.consuming
        second.callback(self.link.consumers[1])
        self.assertEqual((self.codec.told(), self.published), ([Subscribed(2, JOBS)], 0))
        first.callback(self.link.consumers[0])
        self.link.consumers[0].answers[0].callback(None)
        self.assertEqual((self.codec.told(), self.published), ([Subscribed(1, TOPIC, "x")], 1))

    def test_messages_come_to_what_was_subscribed_before(self) -> None:
        self.ask(self.session, Subscribe(1, TOPIC), publish("p"))
        self.link.release()
        self.link.consumers[0].deliver(delivery("a", b"1"))
        self.assertEqual(len(self.transport.frames), 1)

    def test_one_that_is_refused_is_waited_for_no_more(self) -> None:
        self.ask(self.session, Subscribe(1, JOBS), publish("p"))
        self.link.consuming[0].errback(REFUSED)
        self.assertEqual(
            self.codec.told(), [Refused(1, REFUSED, "subscribe", parse("/queue/jobs"))]
        )
        self.assertEqual((self.published, self.transport.reading), (1, True))

    def test_nor_one_that_is_refused_at_once_or_stands_at_once(self) -> None:
        self.ask(self.session, Subscribe(1, parse("/task/x")), publish("p"))
        self.assertEqual(self.published, 1)
        self.link.held = False
        self.ask(self.session, Subscribe(1, JOBS), publish("q"))
        self.assertEqual((self.published, self.transport.reading), (2, True))

    def test_its_end_waits_for_it_too(self) -> None:
        told = self.ask(self.session, Subscribe(1, TOPIC), Unsubscribe(2, TOPIC), publish("p"))
        self.assertEqual((told, self.published, self.transport.reading), ([], 0, False))
        self.link.release()
        self.assertEqual(self.codec.told(), [Subscribed(1, TOPIC), Unsubscribed(2, TOPIC)])
        self.assertEqual((self.published, self.transport.reading), (1, True))

    def test_it_may_wait_again_for_what_comes_behind_it(self) -> None:
        self.ask(
            self.session,
            Subscribe(1, TOPIC),
            publish("p"),
            Subscribe(2, JOBS),
            publish("q"),
            Ping(3),
        )
        self.link.consuming[0].callback(self.link.consumers[0])
        self.link.consumers[0].answers[0].callback(None)
        self.assertEqual((self.codec.told(), self.published), ([Subscribed(1, TOPIC)], 1))
        self.assertFalse(self.transport.reading)
        self.link.release()
        self.assertEqual((self.codec.told(), self.published), ([Subscribed(2, JOBS), Pong(3)], 2))
        self.assertTrue(self.transport.reading)

    def test_a_login_behind_it_is_waited_for_in_its_turn(self) -> None:
        login = Connect("c", "anna", "secret", None)
        self.ask(self.session, Subscribe(1, TOPIC), publish("p"), Subscribe(2, JOBS), login)
        self.ask(self.session, Ping(3))
        self.link.consuming[0].callback(self.link.consumers[0])
        self.link.consumers[0].answers[0].callback(None)
        self.codec.told()
        # The second subscription stands while the login is still out.
        self.link.release()
        self.assertEqual(self.codec.told(), [Subscribed(2, JOBS)])
        self.assertFalse(self.transport.reading)
        self.checker.answers[0].callback("anna")
        self.assertEqual(self.codec.told(), [Connected("c", "anna"), Pong(3)])
        self.assertTrue(self.transport.reading)

    def test_who_leaves_waits_too(self) -> None:
        self.ask(self.session, Subscribe(1, TOPIC), publish("p"), Disconnect("d"))
        self.link.release()
        self.assertEqual(self.codec.told(), [Subscribed(1, TOPIC)])
        self.link.published[0].answer.callback(None)
        self.assertEqual(self.codec.told()[-1], Disconnected("d"))

    def test_publishes_stay_in_order_behind_a_queue_for_answers(self) -> None:
        self.ask(self.session, request("p"), publish("q"), request("r"))
        self.assertEqual((self.published, self.transport.reading), (0, False))
        self.link.release()
        self.assertEqual((self.published, self.transport.reading), (3, True))
        self.assertEqual(len(self.link.consumers), 1)

    def test_and_behind_one_that_can_not_be_made(self) -> None:
        self.ask(self.session, request("p"), publish("q"))
        self.link.consuming[0].errback(REFUSED)
        self.assertEqual(self.codec.told(), [Refused("p", REFUSED, "publish", parse("/topic/a"))])
        self.assertEqual((self.published, self.transport.reading), (1, True))

    def test_what_waits_goes_with_the_session(self) -> None:
        for closes in (True, False):
            session = self.scripted()
            self.codec.ordered = True
            self.transport.closed, self.transport.reading = None, True
            self.ask(session, Subscribe(1, TOPIC), publish("p"))
            if closes:
                session.close(1001, "")
            else:
                session.lost()
        self.link.release()
        self.assertEqual((self.published, self.codec.told()), (0, []))

    def test_a_fault_of_ours_in_what_waited_closes_with_1011(self) -> None:
        self.ask(self.session, Subscribe(1, TOPIC), publish("p"))
        self.link.publish_error = ZeroDivisionError()
        self.link.release()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1011)

    def test_other_dialects_do_not_wait(self) -> None:
        self.codec.ordered = False
        self.ask(self.session, Subscribe(1, TOPIC), publish("p"), request("q"), publish("r"))
        self.assertEqual((self.published, self.transport.reading), (2, True))
