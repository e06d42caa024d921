"""HTTP before WSGI: connections, limits, deadlines, answers that are wrong, and hostile clients."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from tests.integration.rabbitmq import in_thread
from tests.integration.wsgi_cases import PLAIN, VALIDATED, WsgiCase, lives
from tests.integration.wsgi_client import Answer, Cut, Http, chunked, head

#: Of the mount ``short``, whose application is watched by the validator.
TIMEOUT, BODY = 2.0, 100_000
MOUNTS = {"plain": "", "short": f"timeout = {TIMEOUT}\nbody = {BODY}"}
SERVED = (("plain", PLAIN, "--processes", "2"), ("short", VALIDATED, "--processes", "3"))


class Talk(WsgiCase):
    """What is said on one connection."""

    def talk(self, function: Callable[[Http], Any]) -> Any:
        """Talk to the bridge on a connection, in a thread."""

        def talked() -> Any:
            with Http(self.bridge.port) as http:
                return function(http)

        return in_thread(talked)

    async def test_a_connection_lives_on_and_pipelined_requests_are_answered_in_order(
        self,
    ) -> None:
        def many(http: Http) -> list[Answer]:
            http.ask("GET", self.path("plain", "/hello"))
            post = head("POST", self.path("plain", "/digest"), {"Content-Length": 3}) + b"abc"
            targets = ("/pid?seconds=0.2", "/written", "/hello", "/nothing", "/fails")
            gets = [head("GET", self.path("plain", target)) for target in targets]
            http.send(b"".join([*gets[:2], post, *gets[2:], head("GET", "/readyz")]))
            return [http.answer() for _ in range(7)]

        answers = await self.talk(many)
        statuses = [answer.status for answer in answers]
        self.assertEqual(statuses, [200, 200, 200, 200, 404, 500, 200])
        self.assertEqual([answer.text for answer in answers[1:2]], ["one two three"])
        self.assertTrue(answers[2].text.startswith("3 ba7816bf"))
        self.assertEqual(answers[3].text, "Hello")
        self.assertNotIn("secret", answers[5].text)

    async def test_head_and_answers_without_a_body_leave_the_connection_in_order(self) -> None:
        def heads(http: Http) -> list[Answer]:
            return [
                http.ask(method, self.path("plain", rest))
                for method, rest in (
                    ("HEAD", "/hello"),
                    ("HEAD", "/written"),
                    ("HEAD", "/large?size=300000"),
                    ("GET", f"/status?line={quote('204 No Content')}"),
                    ("GET", f"/status?line={quote('304 Not Modified')}"),
                    ("GET", f"/status?line={quote('299 Quite Fine')}"),
                    ("GET", "/hello"),
                )
            ]

        answers = await self.talk(heads)
        statuses = [answer.status for answer in answers]
        self.assertEqual(statuses, [200, 200, 200, 204, 304, 299, 200])
        lengths = [answers[0].field("content-length"), answers[2].field("content-length")]
        self.assertEqual(lengths, ["5", "300000"])
        self.assertEqual(answers[5].reason, "Quite Fine")
        self.assertEqual([answer.body for answer in answers], [b""] * 6 + [b"Hello"])
        self.assertTrue(all(answer.field("date") for answer in answers), answers)

    async def test_old_clients_have_the_end_of_the_connection_as_the_end_of_the_answer(
        self,
    ) -> None:
        def old(http: Http) -> bytes:
            target = self.path("plain", "/slowly?count=3&pause=0")
            http.send(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            answer = http.answer()
            self.assertNotIn("transfer-encoding", dict(answer.fields))
            return answer.body

        self.assertEqual(await self.talk(old), b"0\n1\n2\n")

    async def test_the_environment_is_that_of_the_request(self) -> None:
        target = self.path("plain", f"/environ?a=b&c={quote('d e')}")
        fields = {"X-Twice": "one", "Content-Type": "a/b", "Proxy": "http://evil", "X_Under": "no"}
        fields |= {"Remote_User": "admin", "Content_Length": "9", "Connection": "X-Hop"}
        fields |= {"X-Hop": "hop", "Te": "trailers", "User-Agent": "a test"}
        found = (await self.ask("POST", target, b"abc", fields)).json
        expected = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": self.path("plain"),
            "PATH_INFO": "/environ",
            "QUERY_STRING": "a=b&c=d%20e",
            "CONTENT_TYPE": "a/b",
            "CONTENT_LENGTH": "3",
            "HTTP_X_TWICE": "one",
            "HTTP_USER_AGENT": "a test",
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.multiprocess": True,
            "wsgi.multithread": False,
            "wsgi.run_once": False,
        }
        self.assertEqual({name: found.get(name) for name in expected}, expected)
        for name in ("HTTP_PROXY", "HTTP_X_UNDER", "HTTP_REMOTE_USER", "HTTP_X_HOP", "HTTP_TE"):
            self.assertNotIn(name, found)

    async def test_413_by_the_length_and_by_what_comes(self) -> None:
        def large(http: Http) -> Answer:
            fields = {"Content-Length": BODY + 1, "Expect": "100-continue"}
            http.send(head("POST", self.path("short", "/digest"), fields))
            return http.answer()

        def endless(http: Http) -> Answer:
            fields = {"Transfer-Encoding": "chunked"}
            http.send(head("POST", self.path("short", "/digest"), fields))
            with contextlib.suppress(OSError):
                for _ in range(100):
                    http.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            return http.answer()

        def fits(http: Http) -> list[Answer]:
            fields = {"Transfer-Encoding": "chunked", "Expect": "100-continue"}
            http.send(head("POST", self.path("short", "/digest"), fields))
            answers = [http.head()]
            http.send(chunked([b"x" * (BODY - 1), b"y"]))
            return [*answers, http.answer()]

        self.assertEqual((await self.talk(large)).status, 413)
        self.assertEqual((await self.talk(endless)).status, 413)
        first, last = await self.talk(fits)
        self.assertEqual((first.status, last.status), (100, 200))
        self.assertTrue(last.text.startswith(f"{BODY} "), last)

    async def test_the_validator_has_nothing_to_say(self) -> None:
        upload = bytes(BODY)
        digest = f"{BODY} {hashlib.sha256(upload).hexdigest()}"
        for method, rest, body, status, text in (
            ("GET", "/hello", b"", 200, "Hello"),
            ("HEAD", "/hello", b"", 200, ""),
            ("GET", "/written", b"", 200, "one two three"),
            ("GET", "/slowly?count=3&pause=0", b"", 200, "0\n1\n2\n"),
            ("POST", "/digest", upload, 200, digest),
            ("POST", "/hello", upload, 200, "Hello"),
            ("GET", "", b"", 404, "nothing here"),
        ):
            answer = await self.ask(method, self.path("short", rest), body)
            self.assertEqual((answer.status, answer.text), (status, text), rest)
        self.assertEqual((await self.ask("GET", self.path("short", "/fails"))).status, 500)
        said = self.workers[-1].said
        self.assertNotIn("AssertionError", said)
        self.assertNotIn("WSGIWarning", said)

    async def test_504_for_who_sleeps_and_who_computes_and_then_it_serves_on(self) -> None:
        """And who computes for nobody ends too."""
        with Http(self.bridge.port) as http:
            http.request("GET", self.path("short", "/spin"))
            ((_, pid),) = await self.noted("spin")
        begin = time.monotonic()
        hanging = ("/sleep?seconds=30", "/spin")
        asked = [self.ask("GET", self.path("short", rest)) for rest in hanging]
        for each in asked:
            self.assertEqual((await each).status, 504)
        self.assertTrue(TIMEOUT * 0.9 < time.monotonic() - begin < TIMEOUT + 3.0)
        hello = [self.ask("GET", self.path("short", "/hello")) for _ in range(2)]
        self.assertEqual(await self.texts(hello), ["Hello", "Hello"])
        self.assertEqual(self.notes("slept"), [])
        await self.until(lambda: not lives(int(pid)))

    async def test_answers_that_break_the_rules_of_http_do_not_reach_the_client(self) -> None:
        for what, words in (
            ("field", {"name": "X", "value": "a\r\nSet-Cookie: b"}),
            ("field", {"name": "X Y", "value": "a"}),
            ("field", {"name": "X", "value": "a\0"}),
            ("status", {"line": "2000 OK"}),
            ("status", {"line": "101 Switching Protocols"}),
            ("status", {"line": "200 OK\r\nX: y"}),
        ):
            rest = f"/{what}?{urlencode(words)}"
            answer = await self.ask("GET", self.path("plain", rest))
            self.assertIn(answer.status, (500, 502), rest)
            self.assertNotIn("set-cookie", dict(answer.fields))

    async def test_an_answer_is_as_long_as_it_says_or_the_connection_is_cut(self) -> None:
        def read(rest: str) -> Callable[[Http], tuple[int, bool]]:
            def told(http: Http) -> tuple[int, bool]:
                http.request("GET", self.path("plain", rest))
                answer, size = http.head(), 0
                self.assertEqual(answer.status, 200)
                try:
                    for piece in http.pieces(answer):
                        size += len(piece)
                except Cut:
                    return size, True
                return size, False

            return told

        size, _ = await self.talk(read("/claims?length=10&size=20"))
        self.assertEqual(size, 10)
        self.assertEqual(await self.talk(read("/claims?length=20&size=10")), (10, True))
        size, cut = await self.talk(read("/breaks"))
        self.assertTrue(cut)
        self.assertLess(size, 200_000)


class Hostile(Talk):
    """Clients that mean no good: what they send reaches no application."""

    async def refused(self, sent: bytes, *statuses: int) -> None:
        def told(http: Http) -> tuple[int, bool]:
            http.send(sent)
            return http.answer().status, http.ends()

        status, ended = await self.talk(told)
        self.assertIn(status, statuses or (400,), sent)
        self.assertTrue(ended, sent)

    async def test_what_two_readers_could_read_in_two_ways_is_refused(self) -> None:
        target = self.path("plain", "/sleep?name=smuggled")
        smuggled = head("GET", target)
        begin = f"POST {target} HTTP/1.1\r\nHost: x\r\n".encode()
        for fields, body in (
            (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"abcdef"),
            (b"Content-Length: +5\r\n", b"abcde"),
            (b"Content-Length: 5, 5\r\n", b"abcde"),
            (b"Content-Length: 0x5\r\n", b"abcde"),
            (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
            (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"),
            (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
            (b"X: a\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            (b"X: a\r\n Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            (b"X: a\0b\r\n", b""),
        ):
            await self.refused(begin + fields + b"\r\n" + body + smuggled, 400, 501)
        old = begin.replace(b"HTTP/1.1", b"HTTP/1.0")
        await self.refused(old + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled)
        self.assertEqual(self.notes(), [])

    async def test_chunks_that_are_none_are_refused(self) -> None:
        target = self.path("plain", "/sleep?name=chunks")
        begin = head("POST", target, {"Transfer-Encoding": "chunked"})
        for chunks in (
            b"zz\r\n",
            b"-1\r\n",
            b"5\r\nabcdeX\r\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3;" + b"x" * 10_000 + b"\r\n",
            b"ffffffffffffffff\r\n",
        ):
            await self.refused(begin + chunks, 400, 413)
        self.assertEqual(self.notes(), [])

    async def test_a_request_inside_of_a_body_is_a_body(self) -> None:
        inner = head("GET", self.path("plain", "/sleep?name=inner"))
        answer = await self.ask("POST", self.path("plain", "/digest"), inner)
        self.assertTrue(answer.text.startswith(f"{len(inner)} "))
        self.assertEqual(self.notes(), [])

    async def test_a_path_does_not_leave_its_mount(self) -> None:
        for rest, expected in (
            ("/environ", "/environ"),
            ("/%65nviron", "/environ"),
        ):
            answer = await self.ask("GET", self.path("plain", rest))
            self.assertEqual(answer.json["PATH_INFO"], expected)
        for target in (
            self.path("plain", "x/hello"),
            self.path("plain", "%2fhello"),
            f"/.{self.path('plain', '/hello')}",
            f"/{self.path('plain', '/hello')}",
        ):
            self.assertEqual((await self.ask("GET", target)).status, 404, target)

    async def test_bodies_that_come_slowly_hold_no_worker(self) -> None:
        """Far more of them than there are processes; all get their answers in the end."""
        slow = [Http(self.bridge.port) for _ in range(20)]
        for http in slow:
            self.addCleanup(http.close)
            http.send(head("POST", self.path("plain", "/digest"), {"Content-Length": 4}) + b"a")
        begin = time.monotonic()
        hello = [self.ask("GET", self.path("plain", "/hello")) for _ in range(10)]
        self.assertEqual(await self.texts(hello), ["Hello"] * 10)
        self.assertLess(time.monotonic() - begin, 5.0)
        for http in slow:
            http.send(b"bcd")
        answers = [in_thread(http.answer) for http in slow]
        self.assertTrue(all(text.startswith("4 88d4266f") for text in await self.texts(answers)))
