"""The frames between a WSGI worker and its children."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.rpc.pipes import BadPipe
from twbridge.wsgi.pipe import (
    BEGIN,
    DONE,
    HELLO,
    LAST,
    MESSAGE,
    Begin,
    Frames,
    Hello,
    frame,
    pack_begin,
    pack_hello,
    read_begin,
    read_hello,
)

BEGINNING = Begin(17, ["/a", "/b"], "site:app", "w-1", 1)

frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=8)


class FramesTests(SynchronousTestCase):
    """Bytes are cut into frames."""

    @given(frames, st.data())
    def test_frames_come_out_as_they_went_in_however_they_are_cut(
        self, sent: list[tuple[int, bytes]], data: st.DataObject
    ) -> None:
        stream = b"".join(frame(kind, payload) for kind, payload in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        reader = Frames()
        found = []
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            found += reader.feed(stream[begin:end])
        self.assertEqual(found, sent)

    def test_each_byte_alone_will_do(self) -> None:
        reader = Frames()
        stream = frame(MESSAGE, b"abc") + frame(DONE) + frame(LAST, b"d")
        found = [each for byte in stream for each in reader.feed(bytes([byte]))]
        self.assertEqual(found, [(MESSAGE, b"abc"), (DONE, b""), (LAST, b"d")])

    def test_a_frame_that_is_too_long_is_refused_by_its_head(self) -> None:
        with self.assertRaises(BadPipe) as caught:
            Frames(most=10).feed(frame(MESSAGE, bytes(11))[:5])
        self.assertEqual(str(caught.exception), "a frame of 11 bytes; it may have 10")


class FirstFramesTests(SynchronousTestCase):
    """What both say first."""

    def test_begin_and_hello_arrive_as_they_were(self) -> None:
        (kind, payload), *rest = Frames().feed(pack_begin(BEGINNING))
        self.assertEqual((kind, read_begin(payload), rest), (BEGIN, BEGINNING, []))
        for hello in (Hello(), Hello("no such module", "Traceback ...")):
            (kind, payload), *rest = Frames().feed(pack_hello(hello))
            self.assertEqual((kind, read_hello(payload), rest), (HELLO, hello, []))

    def test_other_bytes_are_refused(self) -> None:
        for payload in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x92\xa1\xff\xc0"):
            with self.assertRaises(BadPipe):
                read_begin(payload)
            with self.assertRaises(BadPipe):
                read_hello(payload)
