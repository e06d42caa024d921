"""Bodies of requests, over any cuts of their bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.sockets.bodies import BodyReader
from twbridge.sockets.heads import Head, Refusal


def head(version: tuple[int, int] = (1, 1), **fields: str) -> Head:
    """A request's head with these header fields."""
    named = {name.replace("_", "-").lower(): [value] for name, value in fields.items()}
    return Head("POST", "/", version, named)


CHUNKED = head(Transfer_Encoding="chunked")


def read(of: Head, *pieces: bytes, limit: int = 1_000) -> tuple[bytes, bytes] | None:
    """What a reader finds in the pieces, which end where it has found it."""
    reader = BodyReader(of, limit)
    for piece in pieces:
        found = reader.receive(piece)
        if found is not None:
            return found
    return None


def chunks(body: bytes, size: int) -> bytes:
    """A body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;e=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class BodyTests(SynchronousTestCase):
    """What is read."""

    def test_without_a_length_there_is_none(self) -> None:
        self.assertEqual(read(head(), b""), (b"", b""))
        self.assertEqual(read(head(), b"GET /"), (b"", b"GET /"))
        self.assertEqual(read(head(Content_Length="0"), b"GET /"), (b"", b"GET /"))

    @given(st.binary(max_size=500), st.binary(max_size=50), st.integers(1, 600))
    def test_a_length_says_where_it_ends(self, body: bytes, rest: bytes, cut: int) -> None:
        data = body + rest
        of = head(Content_Length=str(len(body)))
        found = read(of, data[:cut], data[cut:])
        assert found is not None
        self.assertEqual(found[0], body)
        self.assertTrue(rest.startswith(found[1]))

    @given(st.binary(max_size=300), st.integers(1, 400), st.integers(1, 50))
    def test_chunks_are_put_together(self, body: bytes, size: int, cut: int) -> None:
        data = chunks(body, size) + b"GET /"
        pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
        found = read(CHUNKED, *pieces)
        assert found is not None
        self.assertEqual(found[0], body)
        self.assertTrue(b"GET /".startswith(found[1]))

    def test_a_trailer_is_read_over(self) -> None:
        data = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET /"
        self.assertEqual(read(CHUNKED, data), (b"abc", b"GET /"))
        data = data.replace(b"1", "тихо".encode())
        self.assertEqual(read(CHUNKED, data), (b"abc", b"GET /"))

    def test_an_incomplete_body_is_waited_for(self) -> None:
        self.assertIsNone(read(head(Content_Length="5"), b"abcd"))
        for data in (b"", b"3", b"3\r\n", b"3\r\nabc", b"3\r\nabc\r\n0\r\n"):
            self.assertIsNone(read(CHUNKED, data), data)


class RefusalTests(SynchronousTestCase):
    """What is not read."""

    def refused(self, status: int, of: Head, data: bytes = b"", limit: int = 1_000) -> None:
        with self.assertRaises(Refusal) as caught:
            read(of, data, limit=limit)
        self.assertEqual(caught.exception.status, status)

    def test_a_length_that_is_told_in_two_ways(self) -> None:
        self.refused(400, head(Transfer_Encoding="chunked", Content_Length="3"))
        self.refused(400, head(Transfer_Encoding="gzip, chunked"))
        self.refused(400, head(Transfer_Encoding="identity"))
        self.refused(400, head((1, 0), Transfer_Encoding="chunked"))
        for length in ("", "-1", "+1", "0x1", "1, 1", "٣", "1" * 16):
            self.refused(400, head(Content_Length=length))
        twice = Head("POST", "/", (1, 1), {"content-length": ["1", "1"]})
        self.refused(400, twice)

    def test_chunks_that_are_none(self) -> None:
        for data in (
            b"x\r\n",
            b"\r\n",
            b"-1\r\n",
            b"0x3\r\nabc\r\n",
            b"3 3\r\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3\nabc\r\n",
            b"3;\x00\r\n",
            b"9" * 5_000,
            b"ffffffffffffffff\r\n",
        ):
            self.refused(400, CHUNKED, data)

    def test_a_trailer_that_two_readers_could_read_in_two_ways(self) -> None:
        for line in (b"X: a\n\nGET / HTTP/1.1", b"X: a\rY: b", b"no colon", b" folded", b"X: \x0b"):
            self.refused(400, CHUNKED, b"3\r\nabc\r\n0\r\n" + line + b"\r\n\r\n")

    def test_what_is_larger_than_the_limit(self) -> None:
        self.refused(413, head(Content_Length="1001"))
        self.refused(413, CHUNKED, b"3e9\r\n")
        self.refused(413, CHUNKED, chunks(b"a" * 1_001, 100))
        self.assertEqual(read(CHUNKED, chunks(b"a" * 1_000, 100)), (b"a" * 1_000, b""))

    def test_a_body_of_crumbs(self) -> None:
        line = b"1;" + b"x" * 4_000 + b"\r\na\r\n"
        self.refused(413, CHUNKED, line * 20)

    @given(st.binary(max_size=100))
    def test_nothing_raises_anything_else(self, data: bytes) -> None:
        try:
            read(CHUNKED, data)
        except Refusal as refusal:
            self.assertIn(refusal.status, (400, 413))
