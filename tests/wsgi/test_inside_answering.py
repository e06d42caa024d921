"""Answers: the head, the body, and how they are sent."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from tests.wsgi.inside_case import (
    PLAIN,
    Blocks,
    Counted,
    LaneCase,
    Sent,
    giving,
    length,
    request,
    text,
)
from twbridge.wsgi.messages import PIECE, WINDOW, Credit, Part, Start
from twbridge.wsgi.pipe import DONE, LAST, MESSAGE


class WholeTests(LaneCase):
    """Answers that are one message."""

    def test_a_list_is_one_message_which_also_frees_the_lane(self) -> None:
        for result in ([b"hello"], (b"hello",), [b"he", b"", b"llo"]):
            for fields in ([], [length(5)]):
                sent = self.run_app(giving(result, *fields), request())
                expected = Start(200, "OK", [PLAIN, length(5)], b"hello", False)
                self.assertEqual(sent, [(LAST, expected)])

    def test_what_is_closed_is_closed_after_it_was_sent(self) -> None:
        seen: Sent = []

        class Closing(Blocks):
            def close(inner) -> None:
                seen.extend(self.lane.heard)

        sent = self.run_app(giving(Closing(b"hello"), length(5)), request())
        start = (MESSAGE, Start(200, "OK", [PLAIN, length(5)], b"hello", False))
        self.assertEqual((seen, sent), ([start], [start, (DONE, None)]))

    def test_one_block_of_a_known_number_is_one_message(self) -> None:
        blocks = Counted(b"hello")
        sent = self.run_app(giving(blocks), request())
        expected = Start(200, "OK", [PLAIN, length(5)], b"hello", False)
        self.assertEqual(sent, [(MESSAGE, expected), (DONE, None)])
        self.assertEqual(blocks.closed, 1)

    def test_no_body_has_a_length_of_0(self) -> None:
        for result in ([], [b""], iter([]), iter([b"", b""]), Counted(b"")):
            start, body = self.answer(giving(result), request())
            self.assertEqual((start.fields, body), ([PLAIN, length(0)], b""))

    def test_no_length_is_made_up_for_answers_that_have_no_body(self) -> None:
        for status in ("204 No Content", "304 Not Modified"):
            for result in ([], [b"no"], iter([b"no"])):
                start, body = self.answer(giving(result, status=status), request())
                self.assertEqual((start.fields, body, start.more), ([PLAIN], b"", False))

    def test_head_has_the_fields_of_get(self) -> None:
        for result, fields, expected in (
            ([b"hello"], [], [length(5)]),
            ([b"hello"], [length(5)], [length(5)]),
            ([], [length(5)], [length(5)]),
            ([], [], []),
            (iter([b"hello"]), [], []),
        ):
            app = giving(result, *fields)
            sent = self.run_app(app, request(method="HEAD"))
            self.assertEqual(sent[0][1], Start(200, "OK", [PLAIN, *expected], b"", False))

    def test_a_large_block_is_cut_into_pieces(self) -> None:
        data = os.urandom(3 * PIECE + 100)
        start, body = self.answer(text(data), request())
        self.assertEqual((body, start.fields[-1]), (data, length(len(data))))
        self.assertEqual(len(start.body), PIECE)


class StreamTests(LaneCase):
    """Answers that are sent as they are made."""

    def test_each_block_is_sent_before_the_next_one_is_asked_for(self) -> None:
        counts = []

        def count() -> bytes:
            counts.append(len(self.lane.heard))
            return b"x"

        blocks = Blocks(count, b"", count, count)
        sent = self.run_app(giving(blocks), request())
        self.assertEqual(counts, [0, 1, 2])
        parts = [Part(1, b"x", True), Part(2, b"x", True), Part(3, b"", False)]
        self.assertEqual([each for _, each in sent[1:-1]], parts)
        self.assertEqual(blocks.closed, 1)

    def test_nothing_is_asked_for_after_the_content_length(self) -> None:
        blocks = Blocks(b"hel", b"lo", b"more")
        start, body = self.answer(giving(blocks, length(5)), request())
        self.assertEqual((body, start.fields), (b"hello", [PLAIN, length(5)]))
        self.assertEqual((blocks.rest, blocks.closed), ([b"more"], 1))

    def test_the_head_can_be_set_until_the_first_bytes(self) -> None:
        def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [PLAIN])
            yield b""
            try:
                raise ValueError("late")
            except ValueError:
                start_response("500 Sorry", [], sys.exc_info())
            yield b"sorry"

        start, body = self.answer(app, request())
        self.assertEqual((start.status, start.reason, body), (500, "Sorry", b"sorry"))

    def test_write_sends_at_once_and_what_is_returned_follows(self) -> None:
        counts = []

        def app(_environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [PLAIN])
            for data in (b"", b"one"):
                write(data)
                counts.append(len(self.lane.heard))
            return [b"two"]

        start, body = self.answer(app, request())
        self.assertEqual((counts, body, start.body), ([1, 2], b"onetwo", b""))
        self.assertEqual(start.fields, [PLAIN])

    def test_to_write_no_bytes_sends_nothing_but_the_head(self) -> None:
        def app(_environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [PLAIN])
            for _ in range(5):
                write(b"")
            return [b"one"]

        sent = self.run_app(app, request())
        self.assertEqual(
            [each for _, each in sent],
            [Start(200, "OK", [PLAIN], b"", True), Part(1, b"one", True), Part(2, b"", False)],
        )

    def test_write_reaches_the_content_length(self) -> None:
        def app(_environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [length(3)])(b"one")
            return []

        sent = self.run_app(app, request())
        self.assertEqual(sent[0][1], Start(200, "OK", [length(3)], b"one", False))
        self.assertEqual(sent[1:], [(DONE, None)])

    def test_head_and_write_have_no_body(self) -> None:
        def app(_environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [PLAIN])
            write(b"one")
            write(b"two")
            return [b"three"]

        start, body = self.answer(app, request(method="HEAD"))
        self.assertEqual((start.fields, body), ([PLAIN], b""))
        self.assertEqual(self.errors.getvalue(), "")

    def test_fields_of_the_connection_stay_here(self) -> None:
        fields = [("Connection", "close, X-Own"), ("X-Own", "1"), ("Transfer-Encoding", "chunked")]
        start, _ = self.answer(giving([b""], *fields, ("Set-Cookie", "a=1")), request())
        self.assertEqual(start.fields, [PLAIN, ("Set-Cookie", "a=1"), length(0)])


class FileTests(LaneCase):
    """``wsgi.file_wrapper``."""

    def wrapped(self, file: Any, *size: int) -> list[int]:
        """The sizes of the messages that a file makes."""

        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](file, *size)

        start, *rest = [each for _, each in self.run_app(app, request(window=10 * PIECE)) if each]
        assert isinstance(start, Start)
        return [len(start.body), *(len(each.data) for each in rest if isinstance(each, Part))]

    def test_a_file_at_hand_is_sent_in_large_pieces(self) -> None:
        expected = [PIECE, PIECE, 100, 0]
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(bytes(2 * PIECE + 100))
        with open(path, "rb") as on_disk:
            for each in (on_disk, io.BytesIO(bytes(2 * PIECE + 100))):
                self.assertEqual(self.wrapped(each, 4096), expected)
                self.assertTrue(each.closed)

    def test_of_others_no_more_is_read_than_the_application_says(self) -> None:
        class Slow:
            rest = [b"abc", b"d"]

            def read(self, size: int) -> bytes:
                return self.rest.pop(0)[:size] if self.rest else b""

        self.assertEqual(self.wrapped(Slow(), 2), [2, 1, 0])
        reading, writing = os.pipe()
        os.write(writing, b"abcde")
        os.close(writing)
        with open(reading, "rb", buffering=0) as pipe:
            self.assertEqual(self.wrapped(pipe, 2), [2, 2, 1, 0])


class CreditTests(LaneCase):
    """No more is sent than the bridge allows."""

    def test_a_body_waits_for_credit(self) -> None:
        data = os.urandom(WINDOW + PIECE + 10)
        credits = [Credit(PIECE), Credit(4), Credit(100)]
        _, body = self.answer(text(data), request(), *credits)
        self.assertEqual(body, data)

    def test_all_pieces_together_are_within_it(self) -> None:
        for comes_late, expected in ((False, [50]), (True, [20, 7, 23])):
            self.lane.comes_late = comes_late
            sent = self.run_app(text(bytes(50)), request(window=20), Credit(7), Credit(23))
            sizes = [len(getattr(each, "body", getattr(each, "data", b""))) for _, each in sent]
            self.assertEqual(sizes, expected)

    def test_the_end_needs_none(self) -> None:
        sent = self.run_app(giving(iter([b"12345"])), request(window=5))
        self.assertEqual(sent[1], (LAST, Part(1, b"", False)))

    def test_a_message_that_is_none_ends_it(self) -> None:
        sent = self.run_app(giving(Blocks(b"a", b"b")), request(), b"\xc1")
        self.assertEqual(sent, [(DONE, None)])
