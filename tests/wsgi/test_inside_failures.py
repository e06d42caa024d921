"""Answers that come to nothing: clients that leave, and applications that break the rules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from tests.wsgi.inside_case import PLAIN, Blocks, Counted, LaneCase, giving, length, request, text
from twbridge.wsgi.inside.lane import Gone
from twbridge.wsgi.messages import Cancel, Credit, Failed, Start
from twbridge.wsgi.pipe import DONE, LAST, MESSAGE


class CancelTests(LaneCase):
    """Nobody waits any more."""

    def cancel(self) -> bytes:
        self.say(Cancel("gone"))
        return b"next"

    def test_nothing_is_sent_after_it_and_the_iterable_is_closed(self) -> None:
        blocks = Blocks(b"first", self.cancel, b"never")
        sent = self.run_app(giving(blocks), request())
        self.assertEqual(sent, [(MESSAGE, Start(200, "OK", [PLAIN], b"first", True)), (DONE, None)])
        self.assertEqual((blocks.rest, blocks.closed), ([b"never"], 1))
        self.assertEqual(self.errors.getvalue(), "")

    def test_blocks_without_bytes_notice_it_too(self) -> None:
        def nothing() -> bytes:
            self.cancel()
            return b""

        blocks = Blocks(nothing, b"never")
        self.assertEqual(self.run_app(giving(blocks), request()), [(DONE, None)])
        self.assertEqual((blocks.rest, blocks.closed), ([b"never"], 1))

    def test_it_ends_the_wait_for_credit(self) -> None:
        blocks = Blocks(b"1234567", b"never")
        sent = self.run_app(giving(blocks), request(window=5), Credit(0), Cancel("deadline"))
        self.assertEqual(sent, [(DONE, None)])
        self.assertEqual((blocks.rest, blocks.closed), ([b"never"], 1))

    def test_write_raises_from_then_on(self) -> None:
        caught = []

        def app(_environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [PLAIN])
            write(b"first")
            self.cancel()
            caught.extend([self.assertRaises(Gone, write, b"x") for _ in range(2)])
            return [b"never"]

        sent = self.run_app(app, request())
        self.assertEqual([each for each, _ in sent], [MESSAGE, DONE])
        self.assertEqual(len(caught), 2)

    def test_another_failure_after_it_is_logged_but_not_sent(self) -> None:
        def app(_environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [PLAIN])
            self.cancel()
            try:
                write(b"x")
            except OSError:
                raise KeyError("lost") from None
            return []

        self.assertEqual(self.run_app(app, request()), [(DONE, None)])
        self.assertIn("KeyError: 'lost'", self.errors.getvalue())

    def test_the_next_request_knows_nothing_of_it(self) -> None:
        self.run_app(giving(Blocks(b"a", self.cancel, b"b")), request())
        self.say(Cancel("gone"), Credit(1))
        for _ in range(2):
            self.run_app(text(), request())
        self.assertEqual(self.answer(text(), request())[1], b"hello")


class FailureTests(LaneCase):
    """Applications that do what they must not."""

    def test_one_that_raises_has_failed_and_the_log_says_where(self) -> None:
        def app(_environ: Any, _start_response: Any) -> Any:
            raise ValueError("no\nluck")

        asked = request("/a\x07b", query="token=secret")
        self.assertEqual(self.failure(app, asked), "ValueError: no luck")
        log = self.errors.getvalue()
        self.assertIn("GET /app/a\\x07b from 192.0.2.7: the application has failed\n", log)
        self.assertIn("Traceback", log)
        self.assertNotIn("secret", log)

    def test_it_may_raise_what_ends_other_programs(self) -> None:
        for error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration()):
            blocks = Blocks(error) if not isinstance(error, StopIteration) else None

            def app(
                environ: Any, start_response: Any, error: Any = error, blocks: Any = blocks
            ) -> Any:
                if blocks is None:
                    raise error
                return giving(blocks)(environ, start_response)

            self.assertEqual(self.failure(app, request()).split(":")[0], type(error).__name__)
            self.assertTrue(blocks is None or blocks.closed == 1)

    def test_one_that_raises_in_the_middle_has_failed_too(self) -> None:
        blocks = Blocks(b"first", ValueError("no luck"))
        sent = self.run_app(giving(blocks), request())
        start = (MESSAGE, Start(200, "OK", [PLAIN], b"first", True))
        self.assertEqual(sent, [start, (LAST, Failed("app", "ValueError: no luck"))])
        self.assertEqual(blocks.closed, 1)

    def test_the_head_can_not_be_set_twice(self) -> None:
        def app(_environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            start_response("200 OK", [])
            return []

        text = self.failure(app, request())
        self.assertEqual(text, "RuntimeError: start_response was called already")

    def test_exc_info_is_raised_once_the_head_was_sent(self) -> None:
        def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"first"
            try:
                raise ValueError("late")
            except ValueError:
                start_response("500 Sorry", [], exc_info=sys.exc_info())
            yield b"never"

        sent = self.run_app(app, request())
        self.assertEqual(sent[1:], [(LAST, Failed("app", "ValueError: late"))])

    def test_what_is_no_answer_is_refused(self) -> None:
        for app, expected in (
            (lambda _environ, _start: [b"x"], "RuntimeError: the application has not called start"),
            (lambda _environ, _start: [], "RuntimeError: the application has not called start"),
            (lambda _environ, _start: iter([b"x"]), "RuntimeError: the application has not called"),
            (giving(None), "TypeError: the application has returned None, not an iterable"),
            (giving(5), "TypeError: 'int' object is not iterable"),
            (giving(["text"]), "TypeError: a block of the body is str, not bytes"),
            (giving("text"), "TypeError: a block of the body is str, not bytes"),
            (giving(b"text"), "TypeError: a block of the body is int, not bytes"),
            (giving(Blocks("")), "TypeError: a block of the body is str, not bytes"),
            (giving(Counted("x")), "TypeError: a block of the body is str, not bytes"),
            (giving([b"a", "b"]), "TypeError: a block of the body is str, not bytes"),
            (giving([b"a", bytearray()]), "TypeError: a block of the body is bytearray, not bytes"),
            (giving([], status="OK"), "ValueError: 'OK' is no status: it is to be like '200 OK'"),
            (giving([], status="2000"), "ValueError: '2000' is no status"),
            (giving([], status="٢٠٠ OK"), "ValueError: '٢٠٠ OK' is no status"),
            (giving([], status=b"200 OK"), "TypeError: the status is bytes, not str"),  # type: ignore[arg-type]
            (giving([], status="101 Switching Protocols"), "ValueError: the status 101 is not"),
            (giving([], status="200 O\nK"), "ValueError: the reason has a character"),
            (giving([], ("X-A", "1\r\nX-B: 2")), "ValueError: the value of X-A has a character"),
            (giving([], ("X-A", "€")), "ValueError: the value of X-A has a character"),
            (giving([], ("X A", "1")), "ValueError: 'X A' is not the name of a header field"),
            (giving([], ("X-A", 1)), "TypeError: "),  # type: ignore[arg-type]
            (giving([], ("X-A",)), "ValueError: "),  # type: ignore[arg-type]
        ):
            self.assertIn(expected, self.failure(app, request()))

    def test_a_status_needs_no_reason(self) -> None:
        for status in ("204", "204 "):
            start, _ = self.answer(giving([], status=status), request())
            self.assertEqual((start.status, start.reason), (204, ""))

    def test_a_body_that_is_too_short_has_failed(self) -> None:
        for result in ([b"abc"], iter([b"a", b"bc"]), Counted(b"abc")):
            sent = self.run_app(giving(result, length(5)), request())
            expected = Failed("app", "ValueError: the body is 2 bytes short of its Content-Length")
            self.assertEqual(sent[-1], (LAST, expected))
        self.assertEqual(
            self.failure(giving([], length(5)), request()),
            "ValueError: the body is 5 bytes short of its Content-Length",
        )

    def test_a_body_that_is_too_long_is_cut_and_logged(self) -> None:
        for result in ([b"hello, you"], Blocks(b"hel", b"lo, you")):
            _, body = self.answer(giving(result, length(5)), request())
            self.assertEqual(body, b"hello")
            self.assertIn("the body is longer than its Content-Length", self.errors.getvalue())

    def test_write_beyond_the_content_length_raises(self) -> None:
        caught = []

        def app(_environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [length(3)])
            write(b"one")
            caught.append(str(self.assertRaises(ValueError, write, b"two")))
            return []

        self.assertEqual(self.answer(app, request())[1], b"one")
        self.assertEqual(caught, ["the body is longer than its Content-Length"])

    def test_close_that_raises_after_the_answer_is_logged_only(self) -> None:
        class Broken(Blocks):
            def close(self) -> None:
                raise ValueError("in close")

        sent = self.run_app(giving(Broken(b"hello"), length(5)), request())
        self.assertEqual([each for each, _ in sent], [MESSAGE, DONE])
        self.assertIn("ValueError: in close", self.errors.getvalue())
        sent = self.run_app(giving(Broken(b"hello", KeyError("first"))), request())
        self.assertEqual(sent[-1], (LAST, Failed("app", "ValueError: in close")))
        self.assertIn("KeyError: 'first'", self.errors.getvalue())

    def test_a_request_that_can_not_be_read_has_failed(self) -> None:
        sent = self.run_app(text(), b"\xc1")  # type: ignore[arg-type]
        self.assertEqual([each for each, _ in sent], [LAST])
        assert isinstance(sent[0][1], Failed)
        self.assertIn("a request that can't be read", sent[0][1].text)

    def test_a_log_that_is_broken_does_no_harm(self) -> None:
        self.errors.close()
        self.assertEqual(self.failure(giving(None), request())[:9], "TypeError")
