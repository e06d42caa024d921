"""``wsgi.input``: bodies that arrive in pieces."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.wsgi.inside_case import LaneCase, pieces, request
from twbridge.wsgi.inside.input import BrokenBody, Input
from twbridge.wsgi.inside.lane import Gone
from twbridge.wsgi.messages import PIECE, WINDOW, Cancel, Grant, Request, Upload
from twbridge.wsgi.pipe import DONE, LAST, MESSAGE

#: What is called, and with what.
calls = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 9)),
        st.tuples(st.just("readline"), st.integers(-1, 9)),
        st.tuples(st.just("readlines"), st.integers(1, 9)),
    ),
    max_size=8,
)


def uploads(parts: list[bytes]) -> list[Upload]:
    """The pieces after the first one."""
    last = len(parts) - 1
    return [Upload(number, part, number != last) for number, part in enumerate(parts) if number]


def posted(parts: list[bytes], length: int | None = None) -> Request:
    """A request with the first of them."""
    return request(method="POST", body=parts[0], more=len(parts) > 1, length=length)


def reading(work: Callable[[Any], object]) -> tuple[Any, list[Any]]:
    """An application that reads, and what comes of it."""
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        found.append(work(environ["wsgi.input"]))
        start_response("200 OK", [])
        return []

    return app, found


def read_with(arguments: tuple[int | None, ...], body: Input) -> bytes:
    """Read, with these arguments."""
    return body.read(*arguments)


class InputTests(LaneCase):
    """Reads."""

    def read_all(self, parts: list[bytes], work: Callable[[Any], object]) -> Any:
        app, found = reading(work)
        self.answer(app, posted(parts), *uploads(parts))
        return found[0]

    @given(st.lists(st.text("ab\n", max_size=6), min_size=1, max_size=6), calls)
    def test_it_reads_like_a_file_however_it_is_cut(
        self, given: list[str], what: list[tuple[str, int]]
    ) -> None:
        parts = [each.encode() for each in given]
        file = io.BytesIO(b"".join(parts))

        def work(body: Input) -> list[object]:
            return [getattr(body, name)(size) for name, size in what] + [body.read()]

        expected = [getattr(file, name)(size) for name, size in what] + [file.read()]
        self.assertEqual(self.read_all(parts, work), expected)

    def test_all_of_it_comes_at_once_or_in_lines(self) -> None:
        parts = [b"one\ntw", b"o\n", b"", b"three"]
        lines = [b"one\n", b"two\n", b"three"]
        for work in (list, lambda body: body.readlines(), lambda body: body.readlines(None)):
            self.assertEqual(self.read_all(parts, work), lines)
        for arguments in ((), (-1,), (None,)):
            whole = self.read_all(parts, partial(read_with, arguments))
            self.assertEqual(whole, b"".join(parts))
        self.assertEqual(self.read_all(parts, lambda body: body.readline(None)), b"one\n")

    def test_it_ends_where_the_body_ends(self) -> None:
        def work(body: Input) -> list[bytes]:
            return [body.read(100), body.read(100), body.read(), body.readline(), *body]

        self.assertEqual(self.read_all([b"abc"], work), [b"abc", b"", b"", b""])
        self.assertEqual(self.read_all([b"a", b"b", b""], work), [b"ab", b"", b"", b""])


class GrantTests(LaneCase):
    """Pieces are asked for as they are read."""

    def grants(self, parts: list[bytes], work: Callable[[Any], object], length: int | None) -> Any:
        app, found = reading(work)
        sent = self.run_app(app, posted(parts, length), *uploads(parts))
        return found, [each.size for _, each in sent if isinstance(each, Grant)]

    def test_a_body_that_is_there_or_not_read_needs_none(self) -> None:
        self.assertEqual(self.grants([b"abc"], lambda body: body.read(), 3), ([b"abc"], []))
        found = self.grants([b"abc", b"def"], lambda body: body.read(3), 6)
        self.assertEqual(found, ([b"abc"], []))

    def test_no_more_is_asked_for_than_the_window_ahead_of_what_is_read(self) -> None:
        parts = pieces(bytes(12 * PIECE))
        ahead = []

        def work(body: Input) -> None:
            while body.read(PIECE // 2):
                ahead.append(body._granted)

        _, grants = self.grants(parts, work, None)
        self.assertEqual(grants[0], WINDOW)
        self.assertLessEqual(max(ahead), WINDOW)
        self.assertGreaterEqual(sum(grants), 11 * PIECE)
        # One for every other piece.
        self.assertLessEqual(len(grants), 6)

    def test_no_more_is_asked_for_than_there_is(self) -> None:
        parts = pieces(bytes(8 * PIECE + 7))
        _, grants = self.grants(parts, lambda body: body.read(), 8 * PIECE + 7)
        self.assertEqual(sum(grants), 7 * PIECE + 7)

    def test_there_is_always_room_for_a_piece_on_its_way(self) -> None:
        for size in (PIECE - 1, PIECE // 2 + 1, 5000):
            low: list[int] = []

            def work(body: Input, low: list[int] = low) -> None:
                while body.read(1000):
                    low.append(body._granted)

            self.grants(pieces(bytes(10 * PIECE), size), work, None)
            self.assertGreaterEqual(min(each for each in low if each), PIECE)


class CutTests(LaneCase):
    """Bodies that do not come to their end."""

    def caught(self, work: Callable[[Any], object], *then: Any) -> tuple[list[Any], Any]:
        def attempt(body: Input) -> object:
            try:
                return work(body)
            except OSError as error:
                return error

        app, found = reading(attempt)
        asked = request(method="POST", body=b"first", more=True, length=None)
        return found, self.run_app(app, asked, *then)

    def test_a_read_that_would_wait_raises_once_the_client_has_left(self) -> None:
        for name in ("read", "readline", "readlines"):
            then = (Upload(1, b"second", True), Cancel("gone"))
            found, sent = self.caught(methodcaller(name), *then)
            self.assertIsInstance(found[0], Gone)
            self.assertIsInstance(found[0], ConnectionAbortedError)
            # Nobody hears the answer that it gives all the same.
            self.assertEqual(sent[0], (MESSAGE, Grant(WINDOW)))
            self.assertIn(sent[-1][0], (DONE, LAST))
        self.assertEqual(self.errors.getvalue(), "")

    def test_what_was_read_before_a_failure_can_be_read_again(self) -> None:
        def work(body: Input) -> list[bytes]:
            for name in ("readline", "read"):
                self.assertRaises(Gone, getattr(body, name))
            return [body.read(5), body.read(6)]

        found, _ = self.caught(work, Upload(1, b"second", True), Cancel("deadline"))
        self.assertEqual(found, [[b"first", b"second"]])

    def test_an_application_that_does_not_catch_it_is_not_called_a_failure(self) -> None:
        app, _ = reading(lambda body: body.read())
        asked = request(method="POST", more=True, length=None)
        sent = self.run_app(app, asked, Cancel("gone"))
        self.assertEqual(sent, [(MESSAGE, Grant(WINDOW)), (DONE, None)])
        self.assertEqual(self.errors.getvalue(), "")

    def test_a_missing_piece_is_an_error_from_then_on(self) -> None:
        def work(body: Input) -> list[str]:
            return [str(self.assertRaises(BrokenBody, body.read)) for _ in range(2)]

        found, _ = self.caught(work, Upload(2, b"third", False))
        self.assertEqual(found, [["a piece of the body is missing"] * 2])

    def test_a_body_read_after_the_end_takes_nothing_from_the_next_request(self) -> None:
        kept: list[Input] = []
        app, _ = reading(kept.append)
        self.run_app(app, request(method="POST", body=b"first", more=True, length=None))
        self.say(request())
        self.assertRaises(Gone, kept[0].read)
