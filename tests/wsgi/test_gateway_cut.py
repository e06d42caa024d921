"""The connection that publishes is lost, or the broker takes no messages."""

from __future__ import annotations

from tests.fakes import FakePublish
from tests.wsgi.gateway_case import GatewayCase, ok
from twbridge.errors import ConfirmTimeout, NotReady
from twbridge.wsgi.cancels import BATCH, MOST
from twbridge.wsgi.messages import BACKUP, PIECE, Accepted, Cancel, Credit, Grant, Part, Upload
from twbridge.wsgi.ports import Mount


class CutTests(GatewayCase):
    """What was sent last may have arrived or not."""

    def test_a_piece_of_a_body_may_be_lost(self) -> None:
        client, forwarded = self.forward("POST", b"x", more=True)
        self.say(Grant(PIECE))
        forwarded.upload(b"y", False)
        self.link.cut()
        self.assertEqual(client.status, 502)
        self.assertIn("connection to the broker was lost", str(client.errors[0]))
        self.assertEqual(self.told(), [Upload(1, b"y", False), Cancel("gone")])

    def test_so_it_may_behind_the_beginning_of_the_answer(self) -> None:
        client, forwarded = self.forward("POST", b"x", more=True)
        self.say(Grant(PIECE))
        forwarded.upload(b"y", True)
        self.say(ok(b"a", True))
        self.link.cut()
        self.assertEqual(client.status, 502)

    def test_a_word_of_what_the_client_has_taken_may_be_lost(self) -> None:
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        self.say(Part(1, b"x" * PIECE, True))
        self.assertEqual(self.told(), [Credit(2 * PIECE)])
        self.link.cut()
        self.assertEqual(client.status, 502)
        self.assertEqual(self.told()[1:], [Cancel("gone")])

    def test_not_one_of_which_the_worker_has_made_use(self) -> None:
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        self.say(Part(1, b"x" * PIECE, True))
        client.on_data = lambda size: None
        for number in (2, 3):
            self.say(Part(number, b"x" * PIECE, True))
        self.link.cut()
        self.assertEqual(client.status, 502)

        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        self.say(Part(1, b"x" * PIECE, True))
        client.on_data = lambda size: None
        for number in (2, 3, 4):
            self.say(Part(number, b"x" * PIECE, True))
        self.link.cut()
        self.assertEqual(client.status, 0)
        self.say(Part(5, b"", False))
        self.assertTrue(client.complete)

    def test_what_was_told_nothing_lives_on(self) -> None:
        accepted, _ = self.forward()
        self.say(Accepted("w"))
        started, _ = self.forward()
        self.say(ok(b"a", True))
        posted, _ = self.forward("POST", b"all of it")
        self.say(Accepted("w"))
        granted, forwarded = self.forward("POST", b"x", more=True)
        self.say(Grant(PIECE))
        self.advance(1.25)
        self.link.cut()
        statuses = [each.status for each in (accepted, started, posted, granted)]
        self.assertEqual(statuses, [0, 0, 0, 0])
        forwarded.upload(b"y", False)
        self.say(ok())
        self.assertTrue(granted.complete)

    def test_a_state_is_no_loss(self) -> None:
        client, forwarded = self.forward("POST", b"x", more=True)
        self.say(Grant(PIECE))
        forwarded.upload(b"y", True)
        waiting, _ = self.forward()
        self.link.become("connecting")
        self.assertEqual((client.status, waiting.status), (0, 0))
        self.link.cut()
        self.assertEqual((client.status, waiting.status), (502, 502))


class AlarmTests(GatewayCase):
    """The broker takes no messages."""

    def test_that_is_said_as_it_is(self) -> None:
        client, forwarded = self.forward("POST", b"x", more=True)
        self.say(Grant(PIECE))
        self.link.writes = False
        forwarded.upload(b"y", True)
        self.link.published[-1].answer.errback(NotReady("low on memory"))
        self.assertEqual(client.status, 502)
        self.assertIn("took no messages", str(client.errors[0]))

    def test_a_look_that_can_not_be_sent_is_no_reason(self) -> None:
        client, _ = self.forward()
        self.say(Accepted("w"))
        self.link.writes = False
        self.advance(1.25)
        self.assertEqual(self.told(), [Credit(0)])
        self.link.published[-1].answer.errback(NotReady("low on memory"))
        self.assertEqual(client.status, 0)
        self.say(ok())
        self.assertTrue(client.complete)

    def test_nor_is_one_that_breaks(self) -> None:
        client, _ = self.forward()
        self.say(Accepted("w"))
        self.link.writes = False
        self.advance(1.25)
        self.link.published[-1].answer.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(client.status, 0)


class CancelTests(GatewayCase):
    """A worker is told that nobody waits until it surely knows."""

    def leave(self, control: str = "w1", mount: Mount | None = None) -> FakePublish:
        """A client leaves a worker; what tells that."""
        writes, self.link.writes = self.link.writes, True
        _, forwarded = self.forward(mount=mount) if mount else self.forward()
        self.say(Accepted("w"), control=control)
        self.link.writes = writes
        forwarded.gone()
        return self.link.published[-1]

    def cancels(self, control: str = "w1") -> int:
        """How often a worker was told."""
        return self.told(control).count(Cancel("gone"))

    def test_one_that_was_not_sent_is_sent_again_when_the_link_is_ready(self) -> None:
        self.link.writes = False
        self.link.state = "blocked"
        cancel = self.leave()
        cancel.answer.errback(NotReady("low on memory"))
        self.advance(15.0)
        self.assertEqual(self.cancels(), 1)
        self.link.become("ready")
        self.advance(0.25)
        self.assertEqual(self.cancels(), 2)
        again = self.link.published[-1]
        self.assertEqual(again.properties["correlation_id"], cancel.properties["correlation_id"])
        again.answer.errback(ConfirmTimeout("late"))
        self.advance(0.25)
        self.link.published[-1].answer.callback(None)
        self.advance(60.0)
        self.assertEqual(self.cancels(), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_its_reason_is_the_same(self) -> None:
        self.forward()
        self.say(Accepted("w"))
        self.advance(9.5)
        self.link.writes = False
        self.advance(1.0)
        self.link.published[-1].answer.errback(NotReady("low on memory"))
        self.advance(0.25)
        self.assertEqual(self.told()[-2:], [Cancel("deadline")] * 2)
        self.link.published[-1].answer.callback(None)

    def test_one_that_was_written_is_sent_again_after_a_loss(self) -> None:
        self.leave()
        self.advance(5.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.link.cut()
        self.link.become("connecting")
        self.advance(5.0)
        self.assertEqual(self.cancels(), 1)
        self.link.become("ready")
        self.advance(0.5)
        self.assertEqual(self.cancels(), 2)
        self.link.cut()
        self.advance(0.5)
        self.assertEqual(self.cancels(), 3)

    def test_so_is_one_of_a_request_that_nobody_knows_any_more(self) -> None:
        _, forwarded = self.forward()
        forwarded.gone()
        self.say(Accepted("w"))
        self.link.cut()
        self.advance(0.5)
        self.assertEqual(self.cancels(), 2)

    def test_not_when_its_worker_has_ended_it_by_itself(self) -> None:
        self.leave(mount=Mount("/app", timeout=10.0))
        self.leave("w2", Mount("/app", timeout=20.0))
        self.advance(10.0 + BACKUP)
        self.link.cut()
        self.advance(0.5)
        self.assertEqual((self.cancels("w1"), self.cancels("w2")), (1, 2))

    def test_nor_is_one_kept_longer_that_can_not_be_sent(self) -> None:
        self.link.writes = False
        cancel = self.leave()
        self.link.state = "blocked"
        cancel.answer.errback(NotReady("low on memory"))
        self.advance(10.0 + BACKUP)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_any_number_is_remembered_and_of_those_the_latest(self) -> None:
        for number in range(MOST + 9):
            self.leave(f"w{number}")
        self.link.cut()
        before = len(self.link.published)
        self.advance(0.25)
        self.assertEqual(len(self.link.published), before + BATCH)
        self.advance(60.0)
        again = [each.routing_key for each in self.link.published[before:]]
        self.assertEqual(again, [f"w{number}" for number in range(9, MOST + 9)])

    def test_those_that_surely_are_lost_go_before_others(self) -> None:
        for number in range(MOST):
            self.leave(f"w{number}")
        self.link.writes = False
        self.link.state = "blocked"
        for number in range(MOST + 9):
            self.leave(f"x{number}").answer.errback(NotReady("low on memory"))
        self.link.cut()
        self.link.writes = True
        before = len(self.link.published)
        self.link.become("ready")
        self.advance(2.0)
        again = [each.routing_key for each in self.link.published[before:]]
        self.assertEqual(again, [f"x{number}" for number in range(9, MOST + 9)])

    def test_nothing_is_sent_after_the_stop(self) -> None:
        self.leave()
        self.link.writes = False
        cancel = self.leave()
        self.gateway.stop()
        self.link.cut()
        cancel.answer.errback(NotReady("closed"))
        self.advance(5.0)
        self.assertEqual(self.cancels(), 2)

    def test_an_error_that_nobody_expects(self) -> None:
        self.link.writes = False
        self.leave().answer.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.advance(5.0)
        self.assertEqual(self.cancels(), 1)


class UnconfirmedTests(GatewayCase):
    """The settings say that nothing is confirmed."""

    def setUp(self) -> None:
        super().setUp()
        self.link.unconfirming = True

    def test_a_queue_that_goes_is_noticed(self) -> None:
        clients = [self.forward()[0] for _ in range(3)]
        self.say(Accepted("w"), self.id_of(0))
        self.advance(1.25)
        (probe,) = self.probes
        late, _ = self.forward()
        self.link.give_back(probe)
        self.assertEqual([each.status for each in clients], [0, 503, 503])
        self.assertTrue(clients[1].errors[0].unserved)
        self.assertEqual(late.status, 0)

    def test_a_look_that_comes_back_twice_or_late_is_none(self) -> None:
        client, _ = self.forward(mount=Mount("/app", timeout=60.0))
        self.advance(1.25)
        probe = self.probes[0]
        self.advance(20.0)
        self.link.give_back(probe)
        self.assertEqual(client.status, 0)
        probe = self.probes[-1]
        self.link.give_back(probe)
        self.link.give_back(probe)
        self.assertEqual(client.status, 503)
