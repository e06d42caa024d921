"""STOMP frames: every rule of the specifications, any split, any bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.dialects.stomp.frames import (
    VERSIONS,
    Frame,
    FrameLimits,
    FrameParser,
    Version,
    write_frame,
)
from twbridge.errors import BadFrame, ClientError, TooLarge

SMALL = FrameLimits(head=60, headers=4, body=20)


class Searched(bytes):
    """Bytes that count how many of them are searched."""

    searched = 0

    def find(self, what: Any, *places: Any) -> int:
        found = super().find(what, *places)
        start, end = [*places, len(self)][:2]
        self.searched += (end if found < 0 else found) - start
        return found


def parse(
    *pieces: bytes, version: Version = "1.2", limits: FrameLimits = SMALL
) -> list[Frame | str]:
    """The frames of what comes in these pieces, and then the text of the error."""
    parser = FrameParser(limits, version)
    found: list[Frame | str] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (frame := parser.next()) is not None:
                found.append(frame)
            assert parser.waiting <= limits.head + limits.body + 3
    except ClientError as error:
        found.append(str(error))
    return found


class ReadingTests(SynchronousTestCase):
    """Bytes in, frames out."""

    def read(self, data: bytes, version: Version = "1.2") -> Frame:
        (frame,) = parse(data, version=version)
        assert isinstance(frame, Frame), frame
        return frame

    def test_a_frame_has_a_command_headers_and_a_body(self) -> None:
        self.assertEqual(
            self.read(b"SEND\ndestination:/queue/a\nx:y\n\nhello\0"),
            Frame("SEND", {"destination": "/queue/a", "x": "y"}, b"hello"),
        )

    def test_a_frame_may_have_neither_headers_nor_a_body(self) -> None:
        self.assertEqual(self.read(b"DISCONNECT\n\n\0"), Frame("DISCONNECT", {}))

    def test_lines_may_end_with_cr_lf_in_every_version(self) -> None:
        for version in VERSIONS:
            self.assertEqual(
                self.read(b"SEND\r\na:b\r\n\r\nhello\r\n\0\r\n", version),
                Frame("SEND", {"a": "b"}, b"hello\r\n"),
            )

    def test_a_body_may_begin_with_a_line_end(self) -> None:
        for head in (b"SEND\na:b\n\n", b"SEND\r\na:b\r\n\r\n"):
            for body in (b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"):
                self.assertEqual(self.read(head + body + b"\0").body, body)

    def test_what_stands_between_frames_is_a_sign_of_life(self) -> None:
        frames = parse(b"\n\r\n\0\nA\n\n\0\n\n\r\nB\n\n\0\n")
        self.assertEqual(frames, [Frame("A", {}), Frame("B", {})])

    def test_of_a_repeated_header_the_first_counts(self) -> None:
        self.assertEqual(self.read(b"SEND\na:1\na:2\n\n\0").headers, {"a": "1"})

    def test_a_repeated_header_counts_even_if_only_one_of_both_is_escaped(self) -> None:
        self.assertEqual(self.read(b"SEND\na\\c:1\na\\c:2\n\n\0").headers, {"a:": "1"})

    def test_a_value_may_have_colons_and_be_empty(self) -> None:
        self.assertEqual(self.read(b"SEND\na:b:c\nd:\n\n\0").headers, {"a": "b:c", "d": ""})

    def test_with_a_content_length_a_body_may_have_nuls(self) -> None:
        self.assertEqual(self.read(b"SEND\ncontent-length: 3 \n\na\0b\0").body, b"a\0b")

    def test_without_it_the_body_ends_at_the_first_nul(self) -> None:
        frames = parse(b"SEND\n\na\0B\n\n\0")
        self.assertEqual(frames, [Frame("SEND", {}, b"a"), Frame("B", {})])

    def test_headers_are_utf8(self) -> None:
        self.assertEqual(self.read("SEND\nä:ö\n\n\0".encode()).headers, {"ä": "ö"})

    def test_1_0_escapes_nothing_and_trims_values(self) -> None:
        frame = self.read(b"SEND\na: C:\\new\\temp \n\n\0", "1.0")
        self.assertEqual(frame.headers, {"a": "C:\\new\\temp "})

    def test_1_1_and_1_2_unescape(self) -> None:
        for version in ("1.1", "1.2"):
            frame = self.read(b"SEND\na\\c: \\n\\\\n\\r\n\n\0", version)
            self.assertEqual(frame.headers, {"a:": " \n\\n\r"})

    def test_a_carriage_return_may_stand_in_a_header_before_1_2(self) -> None:
        for version in ("1.0", "1.1"):
            self.assertEqual(self.read(b"SEND\na:b\rc\n\n\0", version).headers, {"a": "b\rc"})

    def test_what_comes_before_both_know_the_version_is_not_escaped(self) -> None:
        for command in ("CONNECT", "STOMP", "CONNECTED"):
            for version in VERSIONS:
                data = f"{command}\npasscode: \\t\\c:\n\n\0".encode()
                self.assertEqual(self.read(data, version).headers, {"passcode": " \\t\\c:"})


class RefusingTests(SynchronousTestCase):
    """What is no frame is one clear sentence."""

    def refused(self, data: bytes, sentence: str, version: Version = "1.2") -> None:
        *_, error = parse(b"OK\n\n\0" + data, version=version)
        self.assertEqual(error, sentence)

    def test_a_header_without_a_colon(self) -> None:
        self.refused(b"SEND\nab\n\n\0", "The header line 'ab' has no name or no colon.")

    def test_a_header_without_a_name(self) -> None:
        self.refused(b"SEND\n:b\n\n\0", "The header line ':b' has no name or no colon.")

    def test_an_escape_that_does_not_exist(self) -> None:
        for bad, told in ((b"\\t", "'\\\\t'"), (b"\\", "'\\\\'")):
            for line in (b"a:%b" % bad, b"a%b:" % bad):
                if line == b"a\\:":
                    told = "'\\\\'"
                self.refused(
                    b"SEND\n%b\n\n\0" % line,
                    f"A header has the escape {told}, which does not exist.",
                )

    def test_a_carriage_return_in_1_2(self) -> None:
        self.refused(
            b"SEND\na:b\rc\n\n\0", "The header 'a' has a carriage return that is not escaped."
        )

    def test_headers_that_are_not_utf8(self) -> None:
        self.refused(b"SEND\na:\xff\n\n\0", "The headers of a frame are not UTF-8.")

    def test_a_nul_in_the_headers(self) -> None:
        self.refused(
            b"SEND\na:b\n\0", "A frame ends before the empty line that follows its headers."
        )

    def test_a_content_length_that_is_no_number(self) -> None:
        for text in (b"a", b"-1", b"1.0", b"", b"1" * 16, "١".encode()):
            self.refused(
                b"SEND\ncontent-length:%b\n\n\0" % text,
                "A content-length is a whole number of bytes.",
            )

    def test_a_content_length_that_is_wrong(self) -> None:
        self.refused(
            b"SEND\ncontent-length:1\n\nabc\0",
            "The body does not end where its content-length says.",
        )

    def test_a_body_over_the_limit(self) -> None:
        told = "The body is over 20 bytes."
        self.refused(b"SEND\n\n" + b"x" * 21, told)
        self.refused(b"SEND\n\n" + b"x" * 21 + b"\0", told)
        self.refused(b"SEND\ncontent-length:21\n\n", told)
        self.assertEqual(len(parse(b"A\n\n" + b"x" * 20 + b"\0")), 1)

    def test_headers_over_the_limit(self) -> None:
        told = "The headers of a frame are over 60 bytes."
        self.refused(b"S" * 61, told)
        self.refused(b"SEND\na:" + b"x" * 54 + b"\n\n\0", told)
        self.refused(b"S" * 61 + b"\0", told)
        (frame,) = parse(b"SEND\na:" + b"x" * 53 + b"\n\n\0")
        self.assertIsInstance(frame, Frame)

    def test_too_many_headers(self) -> None:
        self.refused(b"SEND\n" + b"a:\n" * 5 + b"\n\0", "A frame has at most 4 headers.")

    def test_the_errors_say_what_they_are(self) -> None:
        parser = FrameParser(SMALL)
        parser.feed(b"x" * 70)
        self.assertRaises(TooLarge, parser.next)
        parser = FrameParser(SMALL)
        parser.feed(b"x\0")
        self.assertRaises(BadFrame, parser.next)


# Bytes that look like frames.
SOUP = st.lists(
    st.sampled_from(
        (
            *(b"SEND", b"CONNECT", b"\n", b"\n\n", b"\r\n", b"\r", b"\0", b":", b"a:b\n", b"\\"),
            *(b"\\n", b"content-length:3\n", b"content-length:0\n", b"\xff", b"xyz", b"\0\0"),
        )
    ),
    max_size=30,
).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


class AnyBytesTests(SynchronousTestCase):
    """Whatever comes, and however it is split."""

    @given(SOUP | st.binary(max_size=100), CUTS, st.sampled_from(VERSIONS))
    @example(b"A\r\n\r\n\n\0", [3], "1.2")
    @settings(deadline=None)
    def test_any_split_gives_the_same_frames_and_the_same_error(
        self, data: bytes, cuts: list[int], version: Version
    ) -> None:
        whole = parse(data, version=version)
        self.assertEqual(parse(*pieces(data, cuts), version=version), whole)
        single = [data[i : i + 1] for i in range(len(data))]
        self.assertEqual(parse(*single, version=version), whole)

    def test_a_large_frame_in_small_pieces_costs_no_more_than_its_size(self) -> None:
        limits = FrameLimits(body=1 << 20)
        parser = FrameParser(limits)
        parser.feed(b"SEND\n\n")
        for _ in range(1 << 16):
            self.assertIsNone(parser.next())
            parser.feed(b"0123456789abcdef")
        parser.feed(b"\0")
        frame = parser.next()
        assert frame is not None
        self.assertEqual(len(frame.body), 1 << 20)

    def test_many_small_frames_in_a_large_piece_cost_no_more_than_their_size(self) -> None:
        frames = parse(b"A\n\n\0" * (1 << 16), limits=FrameLimits())
        self.assertEqual(len(frames), 1 << 16)

    def test_however_lines_end_no_byte_is_searched_often(self) -> None:
        lf, crlf = b"SEND\na:b\n\nhello\0", b"SEND\r\na:b\r\n\r\nhello\0\r\n"
        mixed = b"SEND\r\na:b\n\r\nhello\0"
        last = lf + b"SEND\n" * 200
        for some in (lf * 400, crlf * 400, mixed * 400, crlf * 399 + lf, lf + crlf * 399):
            for data in (some, some + last):
                counted = Searched(data)
                parser = FrameParser(FrameLimits())
                parser.feed(counted)
                while parser.next() is not None:
                    pass
                self.assertLessEqual(counted.searched, 4 * len(data))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
#: Not the names with a meaning for the parser, and none is empty.
NAMES = TEXT.filter(lambda name: name not in ("", "content-length"))


class WritingTests(SynchronousTestCase):
    """What is written is read as it was."""

    @given(
        st.dictionaries(NAMES, TEXT, max_size=5), st.binary(max_size=50), st.sampled_from(VERSIONS)
    )
    @settings(deadline=None)
    def test_what_is_written_is_read_as_it_was(
        self, headers: dict[str, str], body: bytes, version: Version
    ) -> None:
        if version == "1.0":
            gone = str.maketrans("", "", "\n\r:")
            headers = {
                name.translate(gone) or "x": value.translate(gone).strip()
                for name, value in headers.items()
            }
        elif version == "1.1":
            headers = {name: value.rstrip("\r") for name, value in headers.items()}
        data = write_frame("SEND", headers.items(), body, version)
        (frame,) = parse(data, version=version, limits=FrameLimits())
        assert isinstance(frame, Frame), frame
        length = frame.headers.pop("content-length", None)
        self.assertEqual(length, str(len(body)) if body else None)
        self.assertEqual(frame, Frame("SEND", headers, body))

    def test_what_1_0_can_not_carry_becomes_spaces(self) -> None:
        data = write_frame("ERROR", [("a:b\n", "c\nd:e\0")], b"", "1.0")
        self.assertEqual(data, b"ERROR\na b :c d:e \n\n\0")

    def test_each_version_has_its_escapes(self) -> None:
        headers = [("k:", "\\ \r \n \0")]
        self.assertEqual(write_frame("X", headers, b"", "1.1"), b"X\nk\\c:\\\\ \r \\n  \n\n\0")
        self.assertEqual(write_frame("X", headers, b"", "1.2"), b"X\nk\\c:\\\\ \\r \\n  \n\n\0")
        self.assertEqual(
            write_frame("CONNECTED", [("a", "b\\c:")], b"", "1.2"), b"CONNECTED\na:b\\c:\n\n\0"
        )
