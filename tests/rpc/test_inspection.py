"""What an operator asks of workers, queues and dead letters, on the embedded broker in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.link.embedded import Network
from twbridge.amqp import Exchange, Link, LinkOptions, Queue, parse
from twbridge.errors import BadTask, ChannelClosed, NotFound, NotReady, UnknownTask
from twbridge.rpc.deadletters import Replayed, letters, replay
from twbridge.rpc.inspection import TaskState, ask_workers, ready, survey
from twbridge.rpc.kinds import Inspect
from twbridge.rpc.messages import read_control
from twbridge.rpc.names import WORKERS, dead_queue, task_queue

DIED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEATH = {
    "x-death": [{"count": 1, "reason": "rejected", "queue": "twbridge.task.save", "time": DIED}],
    "x-first-death-reason": "rejected",
    "x-first-death-queue": "twbridge.task.save",
    "x-first-death-exchange": "",
    "x-last-death-reason": "rejected",
    "x-delivery-count": 3,
}


def described(worker: str, *tasks: str, running: int = 0, **more: Any) -> bytes:
    """What a worker says of itself."""
    served = [
        {
            "name": name,
            "kind": "process",
            "guarantee": "at-least-once",
            "queue": task_queue(name),
            "dead_letters": dead_queue(name),
            "concurrency": 2,
            "running": running,
        }
        for name in tasks
    ]
    whole = {"worker": worker, "pid": 7, "host": "h", "started": 1.5, "tasks": served, **more}
    return json.dumps(whole).encode()


class InspectionCase(SynchronousTestCase):
    """A link to a broker in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.link = self.linked()
        self.addCleanup(self._end)

    def linked(self) -> Link:
        link = Link(
            self.clock,
            parse("amqp://guest:guest@localhost"),
            options=LinkOptions(),
            connect=self.network.endpoint,
            random=lambda: 0.5,
        )
        link.start()
        self.network.pump()
        return link

    def _end(self) -> None:
        stopped = self.link.stop()
        self.network.advance(15)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self, coroutine: Any) -> Deferred[Any]:
        started = Deferred.fromCoroutine(coroutine)
        self.network.pump()
        return started

    def result(self, awaitable: Any, seconds: float = 0.0) -> Any:
        started = awaitable if isinstance(awaitable, Deferred) else self.start(awaitable)
        self.network.advance(seconds)
        return self.successResultOf(started)

    def error(self, awaitable: Any, kind: type[Exception], seconds: float = 0.0) -> Any:
        started = awaitable if isinstance(awaitable, Deferred) else self.start(awaitable)
        self.network.advance(seconds)
        return self.failureResultOf(started, kind).value

    def queue(self, name: str) -> None:
        self.result(self.link.declare(Queue(name, True, False, False)))

    def fill(self, queue: str, *bodies: str, **properties: Any) -> None:
        for body in bodies:
            self.result(self.link.publish("", queue, body.encode(), properties, mandatory=True))

    def held(self, queue: str) -> int:
        messages: int = self.result(self.link.count(queue))[0]
        return messages

    def worker(self, *answers: bytes) -> list[Any]:
        """Somebody who answers an inspection in these words; what was asked."""
        asked: list[Any] = []

        def answer(delivery: Any) -> None:
            asked.append(word := read_control(delivery))
            assert isinstance(word, Inspect)
            for body in answers:
                self.link.publish("", word.reply_to, body, {"correlation_id": word.id})

        self.result(self.link.declare(Exchange(WORKERS, type="fanout")))
        consumer = self.result(self.link.consume(Queue(), answer, no_ack=True))
        self.result(consumer.bind(WORKERS, ""))
        return asked


class WorkersTests(InspectionCase):
    """Who answers."""

    def test_all_that_answer_in_time_are_told_in_order(self) -> None:
        self.worker(described("w2", "b"))
        asked = self.worker(described("w1", "a", "b"))
        started = self.start(ask_workers(self.link, self.clock, 0.5))
        self.assertNoResult(started)
        workers = self.result(started, 0.5)
        self.assertEqual([each.worker for each in workers], ["w1", "w2"])
        self.assertEqual([each.name for each in workers[0].tasks], ["a", "b"])
        self.assertEqual(len(asked), 1)

    def test_no_worker_is_known_at_once(self) -> None:
        self.assertEqual(self.result(ask_workers(self.link, self.clock)), [])
        self.result(self.link.declare(Exchange(WORKERS, type="fanout")))
        self.assertEqual(self.result(ask_workers(self.link, self.clock)), [])

    def test_an_answer_that_makes_no_sense_harms_no_other(self) -> None:
        self.worker(b"\xff", b"[]", b'{"worker": 7}', described("w1", "a", later="unknown"))
        workers = self.result(ask_workers(self.link, self.clock), 1.0)
        self.assertEqual([each.worker for each in workers], ["w1"])

    def test_nothing_is_left_on_the_broker(self) -> None:
        asked = self.worker(described("w1", "a"))
        self.result(ask_workers(self.link, self.clock), 1.0)
        gone = self.error(self.link.count(asked[0].reply_to), ChannelClosed)
        self.assertEqual(gone.reply_code, 404)


class SurveyTests(InspectionCase):
    """Tasks and their queues."""

    def test_a_task_is_the_sum_of_its_workers_and_the_counts_of_its_queues(self) -> None:
        self.worker(described("w1", "save", running=1), described("w2", "save", running=2))
        self.queue(task_queue("save"))
        self.queue(dead_queue("save"))
        self.fill(task_queue("save"), "1", "2")
        self.fill(dead_queue("save"), "0")
        (task,), workers = self.result(survey(self.link, self.clock), 1.0)
        self.assertEqual(
            task,
            TaskState(
                name="save",
                guarantee="at-least-once",
                queue="twbridge.task.save",
                waiting=2,
                running=3,
                workers=2,
                dead=1,
            ),
        )
        self.assertEqual(len(workers), 2)

    def test_a_task_that_nobody_serves_is_told_when_it_is_named(self) -> None:
        self.worker(described("w1", "a"))
        self.queue(task_queue("old"))
        found, _ = self.result(survey(self.link, self.clock, ["old", "never"]), 1.0)
        self.assertEqual(
            [(each.name, each.waiting, each.dead, each.workers) for each in found],
            [("never", None, None, 0), ("old", 0, None, 0)],
        )

    def test_a_name_that_is_none_is_refused_before_anything_is_asked(self) -> None:
        asked = self.worker()
        self.error(survey(self.link, self.clock, [""]), BadTask)
        self.assertEqual(asked, [])


class ReadyTests(InspectionCase):
    """Waiting for the link."""

    def test_it_is_waited_for_as_long_as_its_timeout(self) -> None:
        away = Link(
            self.clock,
            parse("amqp://guest:guest@localhost"),
            connect=lambda *_: Nowhere(),  # type: ignore[arg-type]
        )
        waiting = self.start(ready(away, self.clock))
        self.network.advance(9.0)
        self.assertNoResult(waiting)
        self.network.advance(1.0)
        self.assertIn("can't be asked", str(self.failureResultOf(waiting, NotReady).value))

    def test_it_is_over_when_the_link_is_there(self) -> None:
        link = Link(
            self.clock, parse("amqp://guest:guest@localhost"), connect=self.network.endpoint
        )
        waiting = self.start(ready(link, self.clock))
        self.assertNoResult(waiting)
        link.start()
        self.network.pump()
        self.assertIsNone(self.successResultOf(waiting))
        self.result(link.stop(), 1.0)


class Nowhere:
    """An endpoint that never connects."""

    def connect(self, _factory: object) -> Deferred[Any]:
        return Deferred()


class LettersTests(InspectionCase):
    """Looking at dead letters."""

    def setUp(self) -> None:
        super().setUp()
        self.queue(dead_queue("save"))

    def test_they_are_told_and_stay(self) -> None:
        self.fill(
            dead_queue("save"),
            "[1]",
            correlation_id="c1",
            content_type="application/json",
            headers={**DEATH, "twbridge-caller": "me"},
        )
        for _ in range(2):
            (letter,) = self.result(letters(self.link, self.clock, "save"))
            self.assertEqual(
                (letter.id, letter.caller, letter.reason, letter.died, letter.body),
                ("c1", "me", "rejected", DIED, b"[1]"),
            )
            self.assertEqual(self.held(dead_queue("save")), 1)

    def test_the_oldest_come_first_and_no_more_than_the_limit(self) -> None:
        self.fill(dead_queue("save"), *map(str, range(5)))
        found = self.result(letters(self.link, self.clock, "save", 3))
        self.assertEqual([each.body for each in found], [b"0", b"1", b"2"])
        self.assertEqual(self.held(dead_queue("save")), 5)

    def test_a_message_of_any_shape_is_a_letter(self) -> None:
        self.fill(dead_queue("save"), "x", headers={"x-death": "?", "x-first-death-reason": 7})
        (letter,) = self.result(letters(self.link, self.clock, "save"))
        self.assertEqual((letter.id, letter.reason, letter.died), ("", "7", None))

    def test_a_task_that_keeps_none_is_unknown(self) -> None:
        self.error(letters(self.link, self.clock, "add"), NotFound)
        self.error(replay(self.link, self.clock, "add"), NotFound)
        self.error(replay(self.link, self.clock, "\n"), BadTask)


class ReplayTests(InspectionCase):
    """Dead letters that become requests again."""

    def setUp(self) -> None:
        super().setUp()
        self.queue(dead_queue("save"))
        self.queue(task_queue("save"))

    def taken(self, queue: str, *, ack: bool = True) -> list[Any]:
        """What is in a queue, taken out."""
        found: list[Any] = []
        name = Queue(queue, exclusive=False, auto_delete=False, passive=True)
        consumer = self.result(self.link.consume(name, found.append, no_ack=ack, prefetch=1000))
        self.result(consumer.cancel())
        return found

    def test_a_letter_is_a_request_again_as_it_was_before_it_died(self) -> None:
        self.fill(
            dead_queue("save"),
            "[1]",
            correlation_id="c1",
            reply_to="answers",
            content_type="application/json",
            expiration="3000",
            priority=4,
            headers={
                **DEATH,
                "twbridge-caller": "me",
                "twbridge-timeout": 3000,
                "twbridge-attempt": 3,
                "mine": [1],
            },
        )
        self.assertEqual(self.result(replay(self.link, self.clock, "save")), Replayed(1))
        self.assertEqual(self.held(dead_queue("save")), 0)
        (request,) = self.taken(task_queue("save"))
        properties = dict(request.properties)
        self.assertEqual(properties.pop("headers"), {"mine": [1], "twbridge-replayed": True})
        self.assertNotIn("expiration", properties)
        self.assertEqual(properties["content_type"], "application/json")
        self.assertEqual((properties["priority"], request.body), (4, b"[1]"))

    def test_it_is_its_callers_no_more(self) -> None:
        headers = {"twbridge-caller": "me"}
        self.fill(
            dead_queue("save"), "[1]", correlation_id="c1", reply_to="amq.gen-1", headers=headers
        )
        self.assertEqual(self.result(replay(self.link, self.clock, "save")), Replayed(1))
        (request,) = self.taken(task_queue("save"))
        self.assertNotIn("reply_to", request.properties)
        self.assertNotIn("twbridge-caller", request.headers)
        self.assertNotIn(request.properties["correlation_id"], ("", "c1"))

    def test_an_answer_that_somebody_waits_for_elsewhere_goes_there_with_its_id(self) -> None:
        marked: tuple[dict[str, Any], ...] = (
            {"twbridge-caller": "me", "twbridge-elsewhere": True},
            {},
        )
        for headers in marked:
            self.fill(
                dead_queue("save"), "[1]", correlation_id="c1", reply_to="answers", headers=headers
            )
            self.assertEqual(self.result(replay(self.link, self.clock, "save")), Replayed(1))
            (request,) = self.taken(task_queue("save"))
            found = [request.properties.get(each) for each in ("correlation_id", "reply_to")]
            self.assertEqual(found, ["c1", "answers"])
            self.assertNotIn("twbridge-caller", request.headers)

    def test_all_go_in_order_past_the_window(self) -> None:
        bodies = [str(number) for number in range(120)]
        self.fill(dead_queue("save"), *bodies)
        self.assertEqual(self.result(replay(self.link, self.clock, "save")), Replayed(120))
        found = [each.body.decode() for each in self.taken(task_queue("save"))]
        self.assertEqual(found, bodies)

    def test_no_more_than_the_limit(self) -> None:
        self.fill(dead_queue("save"), *map(str, range(5)))
        self.assertEqual(self.result(replay(self.link, self.clock, "save", 2)), Replayed(2))
        self.assertEqual([each.body for each in self.taken(dead_queue("save"))], [b"2", b"3", b"4"])

    def test_what_dies_again_meanwhile_does_not_go_round(self) -> None:
        self.fill(dead_queue("save"), "a", "b")

        def die(delivery: Any) -> None:
            self.link.publish("", dead_queue("save"), delivery.body, mandatory=True)

        name = Queue(task_queue("save"), exclusive=False, auto_delete=False, passive=True)
        self.result(self.link.consume(name, die, no_ack=True))
        self.assertEqual(self.result(replay(self.link, self.clock, "save")), Replayed(2))
        self.assertEqual(self.held(dead_queue("save")), 2)

    def test_none_is_lost_where_the_task_has_no_queue(self) -> None:
        self.queue(dead_queue("gone"))
        self.fill(dead_queue("gone"), "a", "b")
        replayed = self.result(replay(self.link, self.clock, "gone"))
        self.assertEqual(replayed.count, 0)
        self.assertIsInstance(replayed.error, UnknownTask)
        self.assertEqual(self.held(dead_queue("gone")), 2)

    def test_an_empty_queue_is_done_at_once(self) -> None:
        self.assertEqual(self.result(replay(self.link, self.clock, "save")), Replayed(0))

    def test_letters_that_somebody_took_are_not_waited_for(self) -> None:
        self.fill(dead_queue("save"), "a", "b", "c")
        name = Queue(dead_queue("save"), exclusive=False, auto_delete=False, passive=True)
        real = self.link.count

        def three(queue: str) -> Any:
            """As if they had been there when they were counted."""
            return real(queue).addCallback(lambda _: (3, 0))

        consumer = self.result(self.link.consume(name, lambda _: None, prefetch=1))
        self.patch(self.link, "count", three)
        started = self.start(replay(self.link, self.clock, "save"))
        self.assertNoResult(started)
        self.assertEqual(self.result(started, 2.0), Replayed(2))
        self.result(consumer.cancel())
