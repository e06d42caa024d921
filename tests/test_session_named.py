"""One client: subscriptions with names, and queues for answers."""

from __future__ import annotations

from typing import Any

from tests.fakes import PlainEncoder, delivery
from tests.session_case import Allow, Route, SessionCase
from twbridge.commands import (
    Ack,
    Acknowledged,
    Dropped,
    Gap,
    Nack,
    Publish,
    Published,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from twbridge.destinations import parse
from twbridge.dialects.stomp import stomp_dialects
from twbridge.errors import ChannelClosed, NotReady
from twbridge.link.topology import Queue
from twbridge.policy import Peer
from twbridge.ports import Limits
from twbridge.session import Session

TOPIC, JOBS, BACK = parse("/topic/a"), parse("/queue/jobs"), parse("/temp-queue/back")
REFUSED = ChannelClosed(403, "ACCESS_REFUSED")
MISSING = ChannelClosed(404, "NOT_FOUND")


class Marked(PlainEncoder):
    """Begins its frames with a word."""

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self.mark = mark

    def encode(self, *args: Any, **more: Any) -> bytes:
        return self.mark + super().encode(*args, **more)


class NamedTests(SessionCase):
    limits = Limits(subscriptions=3, prefetch=50)

    def setUp(self) -> None:
        super().setUp()
        self.session = self.scripted()

    def refused(self, *wanted: Any) -> tuple[str, str]:
        (refused,) = self.ask(self.session, *wanted)
        assert isinstance(refused, Refused)
        return refused.error.code, refused.error.public

    def test_two_to_one_destination_are_told_apart(self) -> None:
        for name in "xy":
            command = Subscribe(name, TOPIC, name=name, encoder=Marked(name.encode()))
            self.assertEqual(self.ask(self.session, command), [Subscribed(name, TOPIC, name)])
        self.link.consumers[0].deliver(delivery("a", b"1"))
        self.assertEqual(sorted(self.transport.frames), [b"x/topic/a a 1", b"y/topic/a a 1"])
        self.transport.frames.clear()
        self.assertEqual(
            self.ask(self.session, Unsubscribe("u", TOPIC, name="x")),
            [Unsubscribed("u", TOPIC, name="x")],
        )
        self.link.consumers[0].deliver(delivery("a", b"2"))
        self.assertEqual(self.transport.frames, [b"y/topic/a a 2"])
        self.session.lost()
        self.clock.advance(10)
        self.assertEqual((self.hub.queues, self.hub.bindings), (0, 0))

    def test_two_consumers_of_one_queue_are_acknowledged_by_name(self) -> None:
        for name in "xy":
            self.ask(self.session, Subscribe(None, JOBS, ack="client", name=name))
        first, second = self.link.consumers
        for consumer in (first, second):
            consumer.deliver(delivery("jobs", b"1"))
        self.assertEqual(self.ask(self.session, Ack("a", JOBS, 1, name="y")), [Acknowledged("a")])
        self.assertEqual((first.answered, second.answered), ([], [("ack", 1, False)]))
        self.assertEqual(
            self.ask(self.session, Nack("n", JOBS, 1, True, True, name="x")), [Acknowledged("n")]
        )
        self.assertEqual(first.answered, [("nack", 1, True, True)])

    def test_a_name_is_had_once_and_an_unknown_one_is_not_found(self) -> None:
        self.ask(self.session, Subscribe(None, TOPIC, name="x"))
        self.assertEqual(
            self.refused(Subscribe("s", JOBS, name="x")),
            ("conflict", "You are subscribed to x already."),
        )
        for command in (Unsubscribe("u", TOPIC, name="y"), Ack("a", TOPIC, 1, name="y")):
            self.assertEqual(self.refused(command), ("not_found", "You are not subscribed to y."))
        self.assertEqual(
            self.refused(Ack("a", TOPIC, 1, name="x")),
            ("not_found", "Messages of this subscription are not acknowledged."),
        )

    def test_the_name_goes_with_all_that_is_told_of_it(self) -> None:
        self.transport.room = 30
        self.ask(self.session, Subscribe(None, TOPIC, name="x", overflow="drop-oldest"))
        self.ask(self.session, Subscribe(None, JOBS, name="y"))
        live, queue = self.link.consumers
        self.transport.writable = False
        live.deliver(*[delivery("a", b"12345") for _ in range(9)])
        self.transport.writable = True
        self.session.writable()
        (dropped,) = self.codec.told()
        assert isinstance(dropped, Dropped)
        self.assertEqual((dropped.destination, dropped.name), (TOPIC, "x"))
        queue.end(REFUSED)
        self.assertEqual(self.codec.told(), [Unsubscribed(None, JOBS, REFUSED.public, "y")])
        self.clock.advance(60)
        live.end(ChannelClosed(404, "the queue was deleted"))
        self.clock.advance(0)
        self.assertEqual(self.codec.told(), [Gap(TOPIC, name="x")])
        self.link.refused["amq.topic"] = REFUSED
        self.clock.advance(60)
        self.link.consumers[-1].end(ChannelClosed(404, "the queue was deleted"))
        self.clock.advance(0)
        self.assertEqual(self.codec.told(), [Unsubscribed(None, TOPIC, REFUSED.public, "x")])

    def test_of_a_client_that_reads_too_slowly_the_session_ends(self) -> None:
        self.transport.room = 10
        self.ask(self.session, Subscribe(None, JOBS, name="x", overflow="close"))
        self.transport.writable = False
        for tag in (1, 2):
            message = delivery("jobs", b"12345")
            message.delivery_tag = tag
            self.link.consumers[0].deliver(message)
        assert self.transport.closed is not None
        self.assertEqual(self.transport.closed[0], 1013)

    def test_one_can_be_taken_back_before_it_stands(self) -> None:
        self.link.held = True
        self.ask(self.session, Subscribe("s", TOPIC, name="x"))
        refused, gone = self.ask(self.session, Unsubscribe("u", TOPIC, name="x"))
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, refused.error.code), ("s", "conflict"))
        self.assertEqual(gone, Unsubscribed("u", TOPIC, name="x"))
        self.link.release()
        self.assertEqual(self.codec.told(), [])

    def test_they_count_among_the_subscriptions_and_the_costly_patterns(self) -> None:
        costly = parse("/topic/%23.a.%23.b.%23.c.%23.d.%23.e.%23")
        self.ask(self.session, Subscribe(None, costly, name="x"))
        again = Subscribe(None, parse("/topic/%23.a.%23.b.%23.c.%23.d"), name="y")
        self.assertEqual(self.refused(again)[0], "too_many")
        for name in "yz":
            self.ask(self.session, Subscribe(None, TOPIC, name=name))
        self.assertEqual(self.refused(Subscribe(None, TOPIC, name="w"))[0], "too_many")

    def test_an_encoder_alone_is_its_own_without_a_name(self) -> None:
        self.ask(self.session, Subscribe(None, TOPIC, encoder=Marked(b"!")))
        self.link.consumers[0].deliver(delivery("a"))
        self.assertEqual(self.transport.frames, [b"!/topic/a a "])
        self.clock.advance(60)
        self.link.consumers[0].end(ChannelClosed(404, "the queue was deleted"))
        self.clock.advance(0)
        self.assertEqual(self.codec.told()[-1], Gap(TOPIC))
        self.assertEqual(
            self.ask(self.session, Unsubscribe("u", TOPIC)), [Unsubscribed("u", TOPIC)]
        )

    def test_a_queue_that_is_asked_for_is_declared_bound_and_deleted_if_wanted(self) -> None:
        for delete in (False, True):
            queue = Queue("mine", durable=True, exclusive=False, auto_delete=False)
            self.link.consume_errors = [MISSING]
            self.ask(self.session, Subscribe(None, TOPIC, name="x", queue=queue))
            first, second = self.link.consumers[-2:]
            self.assertEqual((first.asked.passive, second.asked), (True, queue))
            self.assertEqual(second.bindings, [("amq.topic", "a")])
            self.ask(self.session, Unsubscribe(None, TOPIC, "x", delete))
            self.assertEqual((second.cancelled, second.deleted), (True, delete))


class ReplyTests(SessionCase):
    """Queues for answers."""

    limits = Limits(subscriptions=2, prefetch=50)
    rules = (Allow("publish", "/topic/a"), Allow("subscribe", "/topic/a"))

    def setUp(self) -> None:
        super().setUp()
        self.session = self.scripted()

    def request(self, identity: str, name: str = "back", **more: Any) -> Publish:
        queue = Queue(f"twbridge.reply.{name}", durable=True, exclusive=False, auto_delete=False)
        reply = Subscribe(None, BACK, name=name, queue=queue, encoder=Marked(b"!"))
        return Publish(identity, TOPIC, b"?", {"reply_to": queue.name}, reply=reply, **more)

    def test_it_is_made_first_and_once(self) -> None:
        self.link.held = True
        self.ask(self.session, self.request("p"), self.request("q"))
        self.assertEqual((len(self.link.consumers), self.link.published), (1, []))
        self.link.release()
        self.assertEqual([each.body for each in self.link.published], [b"?", b"?"])
        self.assertEqual(self.codec.told(), [])
        self.ask(self.session, self.request("r"))
        self.assertEqual((len(self.link.consumers), len(self.link.published)), (1, 3))
        self.link.published[0].answer.callback(None)
        self.assertEqual(self.codec.told(), [Published("p")])

    def test_answers_come_by_it_and_it_goes_with_the_session(self) -> None:
        self.ask(self.session, self.request("p"))
        (consumer,) = self.link.consumers
        self.assertEqual((consumer.asked.name, consumer.bindings), ("twbridge.reply.back", []))
        consumer.deliver(delivery("twbridge.reply.back", b"yes"))
        self.assertEqual(self.transport.frames, [b"!/temp-queue/back twbridge.reply.back yes"])
        self.session.lost()
        self.assertTrue(consumer.deleted)

    def test_where_it_can_not_be_made_the_publish_is_refused_and_the_next_tries_again(self) -> None:
        for error, code in ((REFUSED, "forbidden"), (NotReady("away"), "not_ready")):
            self.link.consume_errors = [error]
            (refused,) = self.ask(self.session, self.request("p"))
            assert isinstance(refused, Refused)
            self.assertEqual((refused.id, refused.error.code), ("p", code))
        self.assertEqual(self.link.published, [])
        self.ask(self.session, self.request("q"), self.request("r", "other"))
        self.assertEqual(len(self.link.published), 2)

    def test_all_that_wait_for_one_hear_of_its_failure(self) -> None:
        self.link.held = True
        self.ask(self.session, self.request("p"), self.request("q"))
        self.link.consuming[0].errback(REFUSED)
        self.assertEqual(
            self.codec.told(),
            [Refused(each, REFUSED, "publish", parse("/topic/a")) for each in "pq"],
        )
        self.ask(self.session, self.request("r"))
        self.link.release()
        self.assertEqual((len(self.link.consumers), len(self.link.published)), (2, 1))

    def test_one_that_the_broker_ends_is_made_again_for_the_next(self) -> None:
        self.ask(self.session, self.request("p"))
        self.link.consumers[0].end(REFUSED)
        self.assertEqual(self.codec.told(), [Unsubscribed(None, BACK, REFUSED.public, "back")])
        self.ask(self.session, self.request("q"))
        self.assertEqual((len(self.link.consumers), len(self.link.published)), (2, 2))

    def test_it_counts_among_the_subscriptions(self) -> None:
        for name in ("one", "two"):
            self.ask(self.session, self.request("p", name))
        (refused,) = self.ask(self.session, self.request("q", "three"))
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, refused.error.code), ("q", "too_many"))
        self.ask(self.session, self.request("r", "two"))
        self.assertEqual(len(self.link.published), 3)

    def test_its_name_is_nobody_elses(self) -> None:
        self.ask(self.session, Subscribe(None, TOPIC, name="back"))
        (refused,) = self.ask(self.session, self.request("q"))
        assert isinstance(refused, Refused)
        self.assertEqual(refused.error.code, "conflict")

    def test_what_is_refused_behind_it_is_answered_like_any_other(self) -> None:
        command = self.request("p")
        command.destination = JOBS
        (refused,) = self.ask(self.session, command)
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, refused.error.code), ("p", "forbidden"))

    def test_the_session_may_end_while_it_is_made(self) -> None:
        self.link.held = True
        self.ask(self.session, self.request("p"))
        self.session.lost()
        self.link.release()
        self.assertEqual((self.link.published, self.codec.told()), ([], []))
        self.assertTrue(self.link.consumers[0].cancelled)

    def test_nobody_subscribes_to_one_directly(self) -> None:
        (refused,) = self.ask(self.session, Subscribe("s", BACK, name="b"))
        assert isinstance(refused, Refused)
        self.assertEqual(refused.error.code, "bad_destination")


class OrderTests(SessionCase):
    """In a dialect that keeps order a publish comes to what was subscribed to before it."""

    def stomp(self) -> Session:
        (dialect, *_) = stomp_dialects()
        peer = Peer(None, True, "127.0.0.1")
        session = Session(self.services, peer, dialect.codec(Route()), self.transport)
        session.opened()
        session.received(b"CONNECT\naccept-version:1.2\nhost:/\n\n\x00", False)
        return session

    def test_a_publish_waits_for_the_subscriptions_before_it(self) -> None:
        session = self.stomp()
        self.link.held = True
        session.received(
            b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00"
            b"SUBSCRIBE\nid:2\ndestination:/topic/b\n\n\x00"
            b"SEND\ndestination:/topic/a\n\nhello\x00SEND\ndestination:/topic/b\n\nyou\x00",
            False,
        )
        self.assertEqual(self.link.published, [])
        self.assertFalse(self.transport.reading)
        self.link.release()
        self.assertEqual([each.body for each in self.link.published], [b"hello", b"you"])
        self.assertTrue(self.transport.reading)

    def test_it_waits_no_longer_when_one_is_refused(self) -> None:
        session = self.stomp()
        self.link.held = True
        session.received(
            b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\x00SEND\ndestination:/topic/a\n\nhello\x00",
            False,
        )
        self.clock.advance(10)
        self.assertEqual(self.link.published, [])  # the refusal is STOMP's end
        self.assertIsNotNone(self.transport.closed)
