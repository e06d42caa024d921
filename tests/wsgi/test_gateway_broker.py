"""Brokers that do not take what they are given, or lose what they had."""

from __future__ import annotations

from tests.fakes import FakePublish
from tests.wsgi.gateway_case import GatewayCase, ok
from twbridge.errors import ChannelClosed, EncodeError, NotReady, QueueDeleted
from twbridge.wsgi.messages import PIECE, Accepted, Part
from twbridge.wsgi.ports import Mount


class BrokerTests(GatewayCase):
    """The broker does not take a request, or is lost."""

    def refuse(self, error: Exception) -> int:
        self.link.writes = False
        client, _ = self.forward()
        self.link.published[-1].answer.errback(error)
        return client.status

    def test_a_request_that_did_not_run(self) -> None:
        self.assertEqual(self.refuse(NotReady("away")), 503)
        self.assertEqual(self.refuse(ChannelClosed(403, "forbidden")), 503)

    def test_a_mount_that_no_queue_can_be_named_after_has_no_worker(self) -> None:
        self.link.writes = False
        client, _ = self.forward()
        self.link.published[-1].answer.errback(EncodeError("the routing key has 300 bytes"))
        self.assertEqual(client.status, 503)
        self.assertTrue(client.errors[0].unserved)

    def test_a_request_that_may_have_run(self) -> None:
        client, _ = self.forward()
        accepted, _ = self.forward()
        self.say(Accepted("w"))
        self.link.writes = False
        unsent, _ = self.forward()
        self.link.cut()
        self.assertEqual((client.status, accepted.status, unsent.status), (502, 0, 0))
        self.link.published[-1].answer.callback(None)
        self.say(ok())
        self.assertTrue(unsent.complete)

    def test_one_that_waits_at_the_link_has_no_answer_without_its_queue(self) -> None:
        self.link.writes = False
        client, _ = self.forward()
        self.consumer.on_lost()
        self.assertEqual(client.status, 502)
        self.link.published[-1].answer.callback(None)
        self.assertEqual(self.gateway.pending, 0)

    def test_while_the_broker_is_away_for_long_nobody_waits_for_it(self) -> None:
        self.link.become("idle")
        self.clock.advance(60.0)
        self.link.become("connecting")
        waiting, _ = self.forward(body=None)
        self.advance(9.75)
        self.link.become("blocked")
        self.assertEqual(waiting.status, 0)
        self.advance(0.5)
        client, _ = self.forward(body=None)
        self.assertEqual((client.status, client.errors[0].unserved), (503, False))
        self.link.become("ready")
        client, _ = self.forward()
        self.say(ok())
        self.assertTrue(client.complete)
        self.link.become("connecting")
        self.assertEqual(self.forward()[0].status, 0)

    def test_a_request_that_waits_at_the_link_is_given_up(self) -> None:
        self.link.writes = False
        client, _ = self.forward(mount=Mount("/app", timeout=60.0))
        self.advance(10.5)
        self.assertEqual(client.status, 503)
        self.link.published[-1].answer.errback(NotReady("late"))

    def test_a_broker_that_forbids_is_noticed(self) -> None:
        client, _ = self.forward()
        self.advance(1.25)
        self.probes[0].answer.errback(ChannelClosed(403, "forbidden"))
        self.assertEqual(client.status, 503)

    def test_nothing_but_a_look_is_confirmed(self) -> None:
        self.forward()
        self.advance(1.25)
        self.say(Accepted("w"))
        self.advance(1.25)
        self.assertEqual([each.body for each in self.probes], [b""])
        self.assertEqual(len(self.link.unconfirmed), len(self.link.published) - 1)

    def test_what_comes_back_may_be_others(self) -> None:
        client, _ = self.forward()
        for properties in ({}, {"correlation_id": "x"}):
            other = FakePublish("", "q", b"", properties, True)
            self.link.unconfirmed.append(other)
            self.link.give_back(other)
        broken = FakePublish("", "w1", b"?", {"correlation_id": self.id_of(0)}, True)
        self.link.unconfirmed.append(broken)
        self.link.give_back(broken)
        self.assertEqual(client.errors, [])

    def test_an_error_that_nobody_expects(self) -> None:
        self.assertEqual(self.refuse(ZeroDivisionError()), 503)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_queue_of_the_answers_is_lost(self) -> None:
        client, _ = self.forward()
        started, _ = self.forward()
        self.say(ok(b"a", True))
        coming, forwarded = self.forward("POST", None)
        self.consumer.on_lost()
        self.assertEqual((client.status, started.status, coming.status), (502, 502, 0))
        forwarded.upload(b"", False)
        self.assertEqual(len(self.requests), 2)
        self.consumer.queue_name = "amq.gen-2"
        self.consumer.on_established()
        self.assertEqual(self.requests[-1].properties["reply_to"], "amq.gen-2")
        self.say(ok())
        self.assertTrue(coming.complete)

    def test_somebody_deletes_the_queue_of_the_answers(self) -> None:
        client, _ = self.forward()
        self.consumer.end(QueueDeleted())
        self.assertEqual(client.status, 502)
        self.assertEqual(len(self.link.consumers), 2)
        self.flushLoggedErrors()

    def test_a_worker_that_can_not_be_told(self) -> None:
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        self.link.writes = False
        self.say(Part(1, b"x" * PIECE, True))
        self.link.published[-1].answer.errback(NotReady("away"))
        self.assertEqual(client.status, 502)
