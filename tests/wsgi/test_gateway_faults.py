"""Workers that say what they may not, are lost, or are not there."""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from tests.fakes import delivery
from tests.wsgi.gateway_case import GatewayCase, ok
from twbridge.errors import (
    Nacked,
    NotReady,
    OutcomeUnknown,
)
from twbridge.wsgi.messages import (
    PIECE,
    Accepted,
    Cancel,
    Credit,
    Failed,
    Grant,
    Part,
    Upload,
    encode,
)


class BadWorkerTests(GatewayCase):
    """Nothing that a worker says raises."""

    def setUp(self) -> None:
        super().setUp()
        self.words: list[str] = []

        def heard(event: LogEvent) -> None:
            if event["log_namespace"] == "twbridge.wsgi.complaints":
                self.words.append(event["text"])

        observer = cast("ILogObserver", heard)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def test_garbage_ends_its_request(self) -> None:
        for garbage in (b"", b"\xff", b"\x91\x63", encode(Cancel("gone")), b"{}"):
            client, _ = self.forward()
            self.say(garbage)
            self.assertEqual(client.status, 502)

    def test_an_id_that_is_none(self) -> None:
        client, _ = self.forward()
        for id in ("", "x", self.id_of(0) + "0"):
            for message in (ok(), Part(1, b"", True), Failed("app", ""), Grant(9), b"garbage"):
                self.say(message, id)
        self.consumer.deliver(delivery("q", encode(ok()), ""))
        broken = delivery("q", encode(ok()), "")
        broken.raw_properties = b"\xff\xff\x05"
        self.consumer.deliver(broken)
        self.assertEqual((client.head, client.errors), (None, []))

    def test_a_hole_in_the_numbers(self) -> None:
        for number in (0, 2, -1):
            client, _ = self.forward()
            self.say(ok(b"a", True))
            self.say(Part(number, b"b", False))
            self.assertEqual((client.body, client.status), (b"a", 502))

    def test_a_piece_before_the_beginning(self) -> None:
        client, _ = self.forward()
        self.say(Part(1, b"b", True))
        self.assertEqual((client.head, client.status), (None, 502))
        self.assertEqual(self.told(), [Cancel("gone")])

    def test_two_answers(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"a", True))
        self.say(ok(b"b", False))
        self.assertEqual((client.body, client.status), (b"a", 502))
        self.assertEqual(self.told("w1"), [Cancel("gone")])

    def test_the_answer_of_another_worker_is_ended_and_not_the_first(self) -> None:
        """One that was away for a moment goes on with what another one was given meanwhile."""
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(Accepted("a"))
        self.say(Accepted("b"), control="w2", worker="b")
        self.say(ok(b"one", True), control="w1 again")
        self.assertEqual(self.told("w2"), [Cancel("gone")])
        self.say(Accepted("b"), control="w2", worker="b")
        self.say(ok(b"two", True), control="w2", worker="b")
        self.say(Part(1, b"two", False), control="w2", worker="b")
        self.say(Failed("lost", ""), control="w2", worker="b")
        self.assertEqual(self.told("w2"), [Cancel("gone")] * 3)
        self.say(Part(1, b"-one", False), control="w1 again")
        self.assertEqual((client.body, client.complete), (b"one-one", True))
        self.assertNotIn(Cancel("gone"), self.told("w1 again"))

    def test_the_one_that_answers_first_is_heard(self) -> None:
        client, _ = self.forward()
        self.say(Accepted("a"))
        self.say(ok(b"two", False), control="w2", worker="b")
        self.assertEqual((client.body, client.complete), (b"two", True))
        self.assertEqual((self.told("w1"), self.told("w2")), ([Cancel("gone")], []))

    def test_what_is_for_one_that_has_no_queue_now_is_not_told_to_the_other(self) -> None:
        client, forwarded = self.forward()
        self.say(Accepted("a"))
        self.say(ok(b"x" * PIECE, True), control="", worker="b")
        self.say(Part(1, b"x" * PIECE, True), control="", worker="b")
        forwarded.drained(2 * PIECE)
        self.assertEqual(self.told("w1"), [Cancel("gone")])
        self.say(Accepted("b"), control="w2", worker="b")
        self.assertEqual(self.told("w2"), [Credit(2 * PIECE)])
        self.say(Part(2, b"", False), control="w2", worker="b")
        self.assertTrue(client.complete)

    def test_a_head_that_is_none(self) -> None:
        for start in (
            ok(status=99),
            ok(status=600),
            ok(b"", False, ("a b", "c")),
            ok(b"", False, ("a", "b\r\nc")),
            ok(b"", True, ("a", "\u20ac")),
        ):
            client, _ = self.forward()
            self.say(start)
            self.assertEqual((client.head, client.status), (None, 502))
            self.assertEqual(self.told()[-1], Cancel("gone"))

    def test_the_log_hears_of_it_once_a_minute(self) -> None:
        for _ in range(100):
            self.forward()
            self.say(b"garbage")
        self.assertEqual(len(self.words), 1)
        self.advance(60.0)
        self.forward()
        self.say(ok(status=99))
        self.assertEqual(len(self.words), 2)
        self.assertIn("/app: the status 99", self.words[1])

    def test_what_a_worker_gives_up(self) -> None:
        for kind, status in (("app", 500), ("lost", 502), ("deadline", 504), ("stopping", 503)):
            client, _ = self.forward()
            self.say(Failed(kind, "secret"))  # type: ignore[arg-type]
            self.assertEqual(client.status, status)
            self.assertNotIn("secret", str(client.errors[0]))
            self.assertEqual(self.told(), [])

    def test_what_a_worker_gives_up_in_the_middle(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"a", True))
        self.say(Failed("app", ""))
        self.assertEqual((client.body, client.complete, client.status), (b"a", False, 500))


class AnotherWorkerTests(GatewayCase):
    """A worker is lost, and another one has the request."""

    def test_the_one_that_began_last_is_the_one_that_is_told(self) -> None:
        _, forwarded = self.forward()
        self.say(Accepted("a"), control="w1")
        self.say(Accepted("b"), control="w2")
        forwarded.gone()
        self.assertEqual((self.told("w1"), self.told("w2")), ([], [Cancel("gone")]))

    def test_a_worker_that_reconnects_goes_on(self) -> None:
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        self.say(Part(1, b"x" * PIECE, True), control="")
        self.say(Accepted("a"), control="w2")
        self.say(Part(2, b"x" * PIECE, True), control="w2")
        self.say(Part(3, b"x" * PIECE, True), control="w2")
        self.say(Part(4, b"", False), control="w2")
        self.assertTrue(client.complete)
        self.assertEqual((self.told("w1"), self.told("w2")), ([Credit(2 * PIECE)],) * 2)

    def lose(self, control: str = "w1") -> None:
        """What was sent to a worker comes back."""
        for each in self.link.published:
            if each.routing_key == control and each.mandatory:
                self.link.give_back(each)

    def test_a_worker_that_is_gone_is_noticed(self) -> None:
        client, _ = self.forward("POST")
        self.say(Accepted("w"))
        self.advance(1.25)
        self.assertEqual(self.told(), [Credit(0)])
        self.lose()
        self.advance(3.25)
        self.assertEqual(client.status, 502)

    def test_it_may_be_back_in_a_moment(self) -> None:
        client, forwarded = self.forward("POST")
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        self.say(Part(1, b"x" * PIECE, True))
        self.lose()
        self.advance(1.0)
        self.say(Accepted("w"), control="w2")
        self.assertEqual(self.told("w2"), [Credit(2 * PIECE)])
        self.advance(5.0)
        self.assertEqual(client.status, 0)

    def test_a_piece_of_a_body_that_nobody_got_is_not_sent_again(self) -> None:
        client, forwarded = self.forward("POST", b"", more=True)
        self.say(Grant(PIECE))
        forwarded.upload(b"x", True)
        self.assertEqual(self.told(), [Upload(1, b"x", True)])
        self.lose()
        self.assertEqual(client.status, 502)

    def test_nor_where_the_worker_has_another_queue_by_then(self) -> None:
        client, forwarded = self.forward("POST", b"", more=True)
        self.say(Grant(PIECE))
        forwarded.upload(b"x", True)
        self.say(Accepted("w"), control="w2")
        self.lose()
        self.assertEqual(client.status, 502)
        self.assertEqual(self.told("w2"), [Cancel("gone")])

    def test_what_the_client_has_taken_is_told_to_the_queue_that_there_is_by_then(self) -> None:
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        self.say(Part(1, b"x" * PIECE, True))
        self.say(Accepted("w"), control="w2")
        self.assertEqual(self.told("w2"), [])
        self.lose()
        self.assertEqual(self.told("w2"), [Credit(2 * PIECE)])
        self.advance(5.0)
        self.assertEqual(client.status, 0)

    def test_a_get_waits_for_another_worker(self) -> None:
        client, _ = self.forward()
        self.say(Accepted("w"))
        self.advance(1.25)
        self.lose()
        self.advance(4.0)
        self.assertEqual(client.status, 0)
        self.say(ok(b"again"), control="w2")
        self.assertEqual(client.body, b"again")

    def test_no_worker_is_left_for_it(self) -> None:
        client, _ = self.forward()
        self.say(Accepted("w"))
        self.advance(1.25)
        self.lose()
        self.advance(1.0)
        self.link.give_back(self.probes[-1])
        self.assertEqual(client.status, 502)

    def test_a_worker_is_asked_for_once_a_second_whatever_it_does(self) -> None:
        for _ in range(20):
            self.forward()
            self.say(Accepted("w"))
        self.advance(5.0)
        self.assertLessEqual(len(self.told()), 5)


class NoWorkerTests(GatewayCase):
    """Nobody serves the mount."""

    def test_there_is_no_queue(self) -> None:
        client, _ = self.forward()
        self.link.give_back(self.link.published[0])
        self.assertEqual(client.status, 503)
        self.assertTrue(client.errors[0].unserved)

    def test_the_queue_goes_while_requests_wait_in_it(self) -> None:
        clients = [self.forward()[0] for _ in range(3)]
        self.say(Accepted("w"), self.id_of(0))
        self.advance(1.25)
        (probe,) = self.probes
        self.assertEqual(probe.routing_key, "twbridge.wsgi.app")
        self.assertEqual((probe.properties["expiration"], probe.mandatory), ("0", True))
        late, _ = self.forward()
        self.link.give_back(probe)
        self.assertEqual([each.status for each in clients], [0, 503, 503])
        self.assertTrue(clients[1].errors[0].unserved)
        self.assertEqual(late.status, 0)

    def test_it_is_looked_at_once_a_second(self) -> None:
        for _ in range(10):
            self.forward()
            self.advance(0.5)
        self.assertLessEqual(len(self.probes), 5)
        for each in self.probes:
            each.answer.callback(None)
        self.assertEqual(self.gateway.pending, 10)

    def test_a_queue_that_can_not_be_looked_at_is_no_reason(self) -> None:
        client, _ = self.forward()
        for error in (
            NotReady("away"),
            OutcomeUnknown("lost"),
            Nacked("full"),
        ):
            self.advance(1.25)
            self.probes[-1].answer.errback(error)
        self.assertEqual(client.status, 0)
