"""One client: commands that are begun together or not at all."""

from __future__ import annotations

from typing import Any

from tests.fakes import delivery
from tests.session_case import Allow, SessionCase
from twbridge.commands import (
    Ack,
    Acknowledged,
    Commit,
    Ping,
    Pong,
    Publish,
    Published,
    Refused,
    Subscribe,
    Subscribed,
)
from twbridge.destinations import Destination, parse
from twbridge.link.topology import Queue
from twbridge.ports import Limits

TOPIC, JOBS, OTHER = parse("/topic/a"), parse("/queue/jobs"), parse("/topic/other")


def publish(identity: int, destination: Destination = TOPIC, **more: Any) -> Publish:
    return Publish(identity, destination, str(identity).encode(), {}, **more)


def request(identity: int, name: str) -> Publish:
    queue = Queue(f"twbridge.reply.{name}", durable=True, exclusive=False, auto_delete=False)
    reply = Subscribe(None, parse(f"/temp-queue/{name}"), name=name, queue=queue)
    return publish(identity, reply=reply)


class CommitTests(SessionCase):
    rules = (
        Allow("publish", "/topic/a"),
        Allow("subscribe", "/topic/a"),
        Allow("subscribe", "/queue/jobs"),
    )
    limits = Limits(message=1000, subscriptions=3)

    def setUp(self) -> None:
        super().setUp()
        self.session = self.scripted()
        self.codec.ordered = True

    @property
    def published(self) -> list[bytes]:
        return [each.body for each in self.link.published]

    def refused(self, *wanted: Publish | Ack) -> tuple[Any, str, str]:
        (refused,) = self.ask(self.session, Commit("c", list(wanted)))
        assert isinstance(refused, Refused)
        return refused.id, refused.error.code, refused.operation

    def test_each_is_answered_as_if_it_came_alone_and_it_has_no_answer_itself(self) -> None:
        self.assertEqual(self.ask(self.session, Commit("c", [publish(1), publish(2)])), [])
        self.assertEqual(self.published, [b"1", b"2"])
        for each in self.link.published:
            each.answer.callback(None)
        self.assertEqual(self.codec.told(), [Published(1), Published(2)])

    def test_none_is_begun_where_the_rules_forbid_a_later_one(self) -> None:
        wanted = (publish(1), publish(2, OTHER), publish(3, OTHER))
        self.assertEqual(self.refused(*wanted), (2, "forbidden", "publish"))
        self.assertEqual(self.published, [])

    def test_nor_where_a_later_one_can_not_be_published(self) -> None:
        wrong = publish(2)
        wrong.properties["expiration"] = "soon"
        for last, code in (
            (wrong, "bad_frame"),
            (publish(2, parse("/temp-queue/x")), "bad_destination"),
            (Publish(2, TOPIC, b"x" * 1001, {}), "too_large"),
        ):
            self.assertEqual(self.refused(publish(1), last), (2, code, "publish"))
        self.assertEqual(self.published, [])

    def test_nor_where_its_queues_for_answers_are_too_many_together(self) -> None:
        self.ask(self.session, request(0, "a"))
        wanted = [request(number, name) for number, name in enumerate("abbcad")]
        self.assertEqual(self.refused(*wanted), (5, "too_many", "publish"))
        self.assertEqual((self.published, len(self.link.consumers)), ([b"0"], 1))
        self.ask(self.session, Commit("c", [*wanted[:-1]]))
        self.assertEqual((len(self.published), len(self.link.consumers)), (6, 3))

    def test_acks_are_carried_out_in_their_turn(self) -> None:
        self.ask(self.session, Subscribe(None, JOBS, ack="client"))
        self.link.consumers[0].deliver(delivery("jobs", b"1"))
        commit = Commit("c", [publish(1), Ack(2, JOBS, 1), Ack(3, JOBS, 7)])
        acknowledged, refused = self.ask(self.session, commit)
        self.assertEqual(acknowledged, Acknowledged(2))
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, refused.error.code), (3, "not_found"))
        self.assertEqual(self.published, [b"1"])

    def test_it_waits_for_what_was_subscribed_before_and_what_follows_comes_behind_all(
        self,
    ) -> None:
        self.link.held = True
        commit = Commit("c", [publish(1), request(2, "a"), publish(3)])
        told = self.ask(self.session, Subscribe("s", TOPIC), commit, publish(4), Ping(5))
        self.assertEqual((told, self.published), ([], []))
        self.link.consuming[0].callback(self.link.consumers[0])
        self.link.consumers[0].answers[0].callback(None)
        self.assertEqual(self.codec.told(), [Subscribed("s", TOPIC)])
        self.assertEqual((self.published, self.transport.reading), ([b"1"], False))
        self.link.release()
        self.assertEqual(self.published, [b"1", b"2", b"3", b"4"])
        self.assertEqual((self.codec.told(), self.transport.reading), ([Pong(5)], True))

    def test_none_is_an_empty_one(self) -> None:
        self.assertEqual(self.ask(self.session, Commit("c", []), Ping(1)), [Pong(1)])
        self.assertTrue(self.transport.reading)
