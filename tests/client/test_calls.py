"""Calling tasks: one answer for each, whatever becomes of the connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from tests.client.scripted import CoreCase
from twbridge.client.errors import Refused
from twbridge.client.ports import Limits
from twbridge.errors import (
    BadFrame,
    CallCancelled,
    CallLost,
    CallTimeout,
    ExpirationError,
    Forbidden,
    NotReady,
    TaskError,
    TooLarge,
    TooMany,
    TwbridgeError,
    UnknownTask,
)


class CallCase(CoreCase):
    """Calls of a task ``t``."""

    def call(
        self,
        body: Any = 1,
        timeout: float = 30.0,
        on_progress: Callable[[Any], object] | None = None,
        **headers: Any,
    ) -> Deferred[Any]:
        return self.core.calls.add("t", body, headers, timeout, on_progress)

    def called(self, **options: Any) -> tuple[Deferred[Any], str]:
        """A call that was sent, and its id."""
        done = self.call(**options)
        (frame,) = self.socket.take()
        return done, frame["id"]


class AnswerTests(CallCase):
    """What the bridge answers."""

    def test_the_result_is_a_value_a_text_or_bytes(self) -> None:
        self.open()
        for body, sent, result, value in (
            ([1, 2.5], {"body": [1, 2.5]}, {"body": {"a": 2**60}}, {"a": 2**60}),
            ("é👋", {"body": "é👋"}, {"body": "é"}, "é"),
            (None, {"body": None}, {"body": None}, None),
            (b"\x00\xff", {"base64": "AP8="}, {"base64": "AAEC"}, b"\x00\x01\x02"),
        ):
            done = self.call(body, 2.5, h=1)
            (frame,) = self.socket.take()
            identity = frame.pop("id")
            wanted = {"op": "call", "task": "t", "timeout": 2.5, "headers": {"h": 1}}
            self.assertEqual(frame, wanted | sent)
            self.assertNoResult(done)
            self.socket.say("result", id=identity, **result, headers={"x": 1})
            self.assertEqual(self.successResultOf(done), value)
        self.assertEqual(len(self.core.calls), 0)

    def test_progress_is_told_in_order_until_the_result(self) -> None:
        self.open()
        told: list[Any] = []
        done, identity = self.called(on_progress=told.append)
        other, _ = self.called()
        for word in ({"body": 1}, {"base64": "AQ=="}, {"body": None}):
            self.socket.say("progress", id=identity, **word)
        self.socket.say("result", id=identity, body=3)
        self.socket.say("progress", id=identity, body=4)
        self.assertEqual((told, self.successResultOf(done)), ([1, b"\x01", None], 3))
        self.assertNoResult(other)

    def test_a_callback_for_progress_that_fails_is_logged(self) -> None:
        self.open()
        done, identity = self.called(on_progress=int)
        self.socket.say("progress", id=identity, body="no number")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.socket.say("result", id=identity, body=3)
        self.assertEqual(self.successResultOf(done), 3)

    def test_a_refusal_is_the_error_with_its_code(self) -> None:
        self.open()
        kinds: tuple[tuple[str, type[TwbridgeError]], ...] = (
            ("not_found", UnknownTask),
            ("call_expired", ExpirationError),
            ("timeout", CallTimeout),
            ("cancelled", CallCancelled),
            ("unknown", CallLost),
            ("worker_error", TaskError),
            ("forbidden", Forbidden),
            ("not_ready", NotReady),
            ("too_many", TooMany),
            ("internal", Refused),
        )
        for code, kind in kinds:
            done, identity = self.called()
            self.socket.say("error", id=identity, code=code, message="No.")
            self.assertEqual(self.failureResultOf(done, kind).value.code, code)
        done, identity = self.called()
        self.socket.say("error", id=identity, code="worker_error", message="No such user.")
        error = self.failureResultOf(done, TaskError).value
        self.assertEqual((error.task, error.message, error.public), ("t", *["No such user."] * 2))
        self.assertEqual(self.errors, [])

    def test_answers_come_in_any_order(self) -> None:
        self.open()
        (one, first), (two, second) = self.called(), self.called()
        self.socket.say("result", id=second, body=2)
        self.socket.say("result", id=first, body=1)
        self.socket.say("result", id=first, body=9)
        self.assertEqual((self.successResultOf(one), self.successResultOf(two)), (1, 2))


class CancelTests(CallCase):
    """Calls that nobody wants any more."""

    def test_the_bridge_is_told_and_whatever_it_answers_is_not(self) -> None:
        self.open()
        done, identity = self.called()
        done.cancel()
        self.failureResultOf(done, CallCancelled)
        self.assertEqual(self.socket.take(), [{"op": "cancel", "id": identity}])
        self.socket.say("result", id=identity, body=1)
        self.socket.say("error", id=identity, code="not_found", message="There is no such call.")
        self.assertEqual((self.errors, len(self.core.calls)), ([], 0))

    def test_one_that_was_not_sent_is_forgotten(self) -> None:
        done = self.call()
        done.cancel()
        self.failureResultOf(done, CallCancelled)
        self.assertEqual(self.open().take(), [])

    def test_one_that_has_its_answer_is_left_alone(self) -> None:
        self.open()
        done, identity = self.called()
        self.socket.say("result", id=identity, body=1)
        done.cancel()
        self.assertEqual((self.successResultOf(done), self.socket.take()), (1, []))


class ConnectionTests(CallCase):
    """Connections that come and go."""

    def test_what_was_sent_is_lost_and_not_sent_again(self) -> None:
        self.open()
        done, _ = self.called()
        self.socket.lose()
        error = self.failureResultOf(done, CallLost).value
        self.assertEqual(error.code, "unknown")
        waits = self.call(2, 60.0)
        socket = self.open()
        self.assertEqual([frame["body"] for frame in socket.take()], [2])
        self.assertNoResult(waits)

    def test_one_waits_for_a_connection_as_long_as_its_deadline_and_no_longer(self) -> None:
        short, long = self.call(1, 3.0), self.call(2, 60.0)
        self.core.start()
        self.clock.advance(2.9)
        self.assertNoResult(short)
        self.clock.advance(0.1)
        self.assertIn("3 s", str(self.failureResultOf(short, NotReady).value))
        self.assertEqual([frame["body"] for frame in self.open().take()], [2])
        # From here on the bridge keeps the time.
        self.core._wait(None)
        self.clock.advance(600)
        self.assertNoResult(long)

    def test_when_the_client_is_closed_all_fail(self) -> None:
        waits = self.call()
        self.core.close()
        self.failureResultOf(waits, NotReady)

    def test_when_the_bridge_says_to_stay_away_nobody_knows_what_became_of_those_sent(self) -> None:
        self.open()
        done, _ = self.called()
        self.socket.lose(4503)
        self.failureResultOf(done, CallLost)


class LimitTests(CallCase):
    """What a client may ask."""

    limits = Limits(calls=2, send=100)

    def test_no_more_than_so_many_wait(self) -> None:
        self.open()
        _, identity = self.called()
        self.called()
        self.assertRaises(TooMany, self.call)
        self.socket.say("result", id=identity, body=1)
        self.called()

    def test_what_is_too_long_is_refused_by_the_limit_of_the_bridge_too(self) -> None:
        self.assertRaises(TooLarge, self.call, "x" * 100)
        done = self.call("x" * 20)
        self.open(limit=70)
        self.failureResultOf(done, TooLarge)
        self.assertRaises(TooLarge, self.call, "x" * 20)
        self.assertEqual(self.socket.take(), [])

    def test_what_is_no_json_and_no_time_is_refused(self) -> None:
        self.open()
        for body in (object(), float("nan"), {1, 2}):
            self.assertRaises(BadFrame, self.call, body)
        self.assertRaises(BadFrame, self.call, 1, h=object())
        for timeout in (0, -1, float("nan"), float("inf")):
            self.assertRaises(BadFrame, self.call, 1, timeout)
        self.assertRaises(BadFrame, self.core.calls.add, "\ud800", 1, None, 1.0, None)
        self.assertEqual((self.socket.take(), len(self.core.calls)), ([], 0))
