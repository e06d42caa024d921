"""``POST /api/call/<task>``, over the wire."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone

from tests.fake_sockets import FakeSocket
from tests.test_session_calls import Answer, Asked
from tests.web.harness import Allow, HttpCase, request
from tests.web.harness import Answer as HttpAnswer
from twbridge.errors import (
    BadArguments,
    CallCancelled,
    CallLost,
    CallTimeout,
    ExpirationError,
    NotReady,
    TaskError,
    TwbridgeError,
    UnknownTask,
)
from twbridge.rpc.serializers import Body
from twbridge.sockets.origins import Listener

JSON = "Content-Type: application/json"


def post(*lines: str, task: str = "add", body: bytes = b"[1,2]", kind: str = JSON) -> bytes:
    """A call."""
    given = (kind, *lines) if kind else lines
    return request("POST", f"/api/call/{task}", *given, body=body)


class CallCase(HttpCase):
    """Requests, and the worker's answers."""

    def call(self, data: bytes | None = None) -> tuple[FakeSocket, Asked]:
        """A request that waits for the task."""
        socket = self.send(post() if data is None else data)
        self.assertEqual(socket.received, b"")
        return socket, self.caller.asked[-1]

    def fail_with(self, error: Exception) -> HttpAnswer:
        """The answer to a call that fails so."""
        socket, asked = self.call()
        asked.answer.errback(error)
        self.clock.advance(0)
        found = self.answer(socket)
        self.assertIsNone(socket.lost)
        socket.lose(ConnectionDone())
        return found


class AnswerTests(CallCase):
    """What becomes of a call is the answer."""

    def test_200_with_the_result_as_it_is(self) -> None:
        for kind, body in (
            ("application/json", b'{"a": 1.50}'),
            ("text/plain; charset=utf-8", "é".encode()),
            ("application/octet-stream", b"\x00\xff"),
            ("text/html", b"<script>alert(1)</script>"),
            ("application/json", b"null"),
            ("application/octet-stream", b""),
        ):
            socket, asked = self.call()
            self.assertEqual((asked.name, asked.timeout, asked.headers), ("add", 30.0, None))
            self.assertEqual(asked.body, Body(b"[1,2]", "application/json"))
            asked.progress(Body(b"1", "application/json"))
            asked.answer.callback(Answer(Body(body, kind), {"x": 1}))
            found = self.answer(socket)
            self.assertEqual((found.status, found.body), (200, body))
            self.assertEqual(found.fields["content-type"], kind)
            self.assertEqual(found.fields["content-security-policy"], "default-src 'none'; sandbox")
            self.assertEqual(found.fields["x-content-type-options"], "nosniff")
            self.assertEqual(found.fields["cache-control"], "no-store")
            socket.lose(ConnectionDone())

    def test_a_content_type_of_a_task_can_not_split_the_answer(self) -> None:
        for kind in ("a\r\nSet-Cookie: b", "", "é", "x" * 300, " "):
            socket, asked = self.call()
            asked.answer.callback(Answer(Body(b"x", kind)))
            found = self.answer(socket)
            self.assertEqual(found.fields["content-type"], "application/octet-stream")
            self.assertNotIn("set-cookie", found.fields)
            socket.lose(ConnectionDone())

    def test_each_error_has_its_status_and_shows_nothing_of_the_inside(self) -> None:
        errors: tuple[tuple[TwbridgeError, int, str], ...] = (
            (UnknownTask("add"), 404, "not_found"),
            (TaskError("add", "KeyError", "secret", "secret"), 422, "worker_error"),
            (BadArguments("add", "TypeError", "secret"), 422, "worker_error"),
            (ExpirationError("add", "secret", 3.0, 3.0), 504, "call_expired"),
            (CallTimeout("add", 3.0), 504, "timeout"),
            (CallLost("add", "secret"), 503, "unknown"),
            (CallCancelled("add"), 503, "cancelled"),
            (NotReady("secret"), 503, "not_ready"),
        )
        for error, status, code in errors:
            found = self.fail_with(error)
            self.assertEqual((found.status, found.json["code"]), (status, code))
            self.assertEqual(set(found.json), {"op", "code", "message"})
            self.assertNotIn(b"secret", found.body)
            self.assertEqual(found.fields.get("retry-after"), "5" if status == 503 else None)
        found = self.fail_with(BadArguments("add", "BadBody", "the body is not valid JSON"))
        self.assertEqual(found.json["message"], "The body is not what the task takes.")
        found = self.fail_with(TaskError("add", "NoUser", "No such user.", public=True))
        self.assertEqual((found.status, found.json["message"]), (422, "No such user."))

    def test_an_error_inside_is_500_and_shows_nothing(self) -> None:
        found = self.fail_with(RuntimeError("secret"))
        self.assertEqual((found.status, found.json["code"]), (500, "internal"))
        self.assertNotIn(b"secret", found.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class RequestTests(CallCase):
    """What a request may say."""

    def test_the_task_is_percent_encoded(self) -> None:
        for path, name in (("a%2Fb%20%C3%A9", "a/b é"), ("a.b-c_d", "a.b-c_d"), ("%2e%2e", "..")):
            socket, asked = self.call(post(task=path))
            self.assertEqual(asked.name, name)
            socket.lose(ConnectionDone())

    def test_what_can_be_no_task_is_422_and_another_path_404(self) -> None:
        for path in ("", "%00", "%zz", "%ff", "a" * 201, "%C3%A9" * 101, "\xe9", "a?b=c"):
            self.refused(post(task=path), 422, "bad_frame" if "?" in path else "bad_destination")
        for path in ("add/", "a/b"):
            self.assertIsNone(self.front.call_side(f"/api/call/{path}"))
        self.assertIsNone(self.front.call_side("/api/call"))

    def test_the_deadline_is_in_a_header(self) -> None:
        for given, seconds in (("3", 3.0), ("0.25", 0.25), ("3600", 3600.0)):
            socket, asked = self.call(post(f"Twbridge-Timeout: {given}"))
            self.assertEqual(asked.timeout, seconds)
            socket.lose(ConnectionDone())
        for wrong in ("0", "-1", "3600.1", "1e3", "nan", "inf", "", "soon", "1_0", "9" * 400):
            self.refused(post(f"Twbridge-Timeout: {wrong}"), 400, "bad_frame")
        self.refused(post("Twbridge-Timeout: 3", "twbridge-timeout: 3"), 400, "bad_frame")

    def test_the_body_goes_as_it_is_with_its_type(self) -> None:
        for kind, body in (
            ("text/plain; charset=utf-8", "é".encode()),
            ("application/octet-stream", b"\x00\xff"),
            ("Application/JSON", b'{"a":  1.50}'),
            ("application/msgpack", b"\x93\x01\x02\x03"),
        ):
            socket, asked = self.call(post(kind=f"Content-Type: {kind}", body=body))
            self.assertEqual(asked.body, Body(body, kind))
            socket.lose(ConnectionDone())

    def test_no_body_is_null(self) -> None:
        for data in (
            post(kind="", body=b""),
            request("POST", "/api/call/add"),
            post(body=b""),
            post(kind="Content-Type: Application/JSON; charset=utf-8", body=b""),
            request("POST", "/api/call/add", JSON),
        ):
            socket, asked = self.call(data)
            self.assertEqual(asked.body, Body(b"null", "application/json"))
            socket.lose(ConnectionDone())

    def test_no_bytes_of_another_type_are_that(self) -> None:
        for kind in ("text/plain", "application/octet-stream", "application/msgpack"):
            socket, asked = self.call(post(kind=f"Content-Type: {kind}", body=b""))
            self.assertEqual(asked.body, Body(b"", kind))
            socket.lose(ConnectionDone())

    def test_what_no_task_reads_is_415_and_pickle_above_all(self) -> None:
        for kind in (
            "application/x-python-pickle",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
        ):
            self.refused(post(kind=f"Content-Type: {kind}" if kind else ""), 415, "bad_frame")
        self.refused(post("Content-Encoding: gzip"), 415, "bad_frame")
        self.assertEqual(self.caller.asked, [])

    def test_what_is_too_large_is_413(self) -> None:
        self.refused(post(body=b"1" * 1_001), 413, "too_large")

    def test_only_post_is_possible(self) -> None:
        found = self.refused(request("GET", "/api/call/add"), 405, "bad_frame")
        self.assertEqual(found.fields["allow"], "POST, OPTIONS")

    def test_one_connection_carries_many(self) -> None:
        socket = self.connect()
        for number in range(3):
            socket.deliver(post())
            self.caller.asked[-1].answer.callback(Answer(Body(b"%d" % number, "application/json")))
            self.clock.advance(0)
            self.assertEqual(self.answer(socket).json, number)
            self.clock.advance(59)


class EndTests(CallCase):
    """Clients that leave, and a bridge that does."""

    def test_a_client_that_leaves_cancels_its_call(self) -> None:
        socket, asked = self.call()
        socket.lose(ConnectionDone())
        self.assertTrue(asked.cancelled)

    def test_a_bridge_that_stops_gives_them_three_seconds(self) -> None:
        (one, first), (two, second) = self.call(), self.call()
        closed = self.tasks.close_all()
        first.answer.callback(Answer(Body(b"3", "application/json")))
        self.clock.advance(0)
        self.assertEqual(self.answer(one).json, 3)
        self.refused(post(), 503, "not_ready")
        self.assertNoResult(closed)
        self.clock.advance(3)
        found = self.answer(two)
        self.assertEqual((found.status, found.json["code"]), (503, "unknown"))
        self.assertTrue(second.cancelled)
        self.successResultOf(closed)


class RulesTests(CallCase):
    """A call takes a rule of its own."""

    rules = (Allow("call", "/task/math.*"), Allow("publish", "/topic/#"))

    def test_what_no_rule_names_is_403(self) -> None:
        socket = self.send(post())
        found = self.answer(socket)
        self.assertEqual((found.status, found.json["code"]), (403, "forbidden"))
        socket.lose(ConnectionDone())
        _, asked = self.call(post(task="math.add"))
        self.assertEqual(asked.name, "math.add")
        self.assertEqual(len(self.caller.asked), 1)
        asked.answer.callback(Answer(Body(b"1", "application/json")))


class OriginTests(CallCase):
    """Pages of other origins are kept away, as from ``/api/publish``."""

    listener = Listener(origins=("self", "https://app.example"), loopback=True)

    def test_a_page_of_an_origin_that_is_named_may_call_and_set_the_deadline(self) -> None:
        origin = "Origin: https://app.example"
        preflight = request(
            "OPTIONS", "/api/call/add", origin, "Access-Control-Request-Method: POST"
        )
        found = self.answer(self.send(preflight))
        self.assertEqual(found.status, 204)
        self.assertEqual(
            found.fields["access-control-allow-headers"], "content-type, twbridge-timeout"
        )
        socket, asked = self.call(post(origin))
        asked.answer.callback(Answer(Body(b"1", "application/json")))
        found = self.answer(socket)
        self.assertEqual(found.fields["access-control-allow-origin"], "https://app.example")

    def test_others_are_403_whatever_they_send(self) -> None:
        text = "Content-Type: text/plain"
        for lines, kind in (
            (["Origin: https://evil.example"], JSON),
            (["Origin: https://evil.example"], text),
            (["Origin: null"], text),
            (["Sec-Fetch-Site: cross-site"], text),
            (["Sec-Fetch-Site: same-site"], text),
            # An old browser, which posts a form and does not say for whom.
            (["User-Agent: Mozilla/5.0"], text),
        ):
            self.refused(post(*lines, kind=kind), 403, "forbidden")
        self.refused(post("User-Agent: Mozilla/5.0", kind="", body=b""), 403, "forbidden")
        self.assertEqual(self.caller.asked, [])
