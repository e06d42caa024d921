"""Where the reading of a stream begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import BadFrame
from twbridge.starts import MAX_OFFSET, MAX_TIMESTAMP, Start, parse_start


class StartTests(SynchronousTestCase):
    def test_words_offsets_and_timestamps_are_read(self) -> None:
        for text, wanted in (
            ("first", Start("first")),
            ("last", Start("last")),
            ("next", Start("next")),
            ("offset=0", Start("offset", 0)),
            ("offset=007", Start("offset", 7)),
            (f"offset={MAX_OFFSET}", Start("offset", MAX_OFFSET)),
            (f"timestamp={MAX_TIMESTAMP}", Start("timestamp", MAX_TIMESTAMP)),
        ):
            self.assertEqual(parse_start(text), wanted)

    def test_all_else_is_refused_with_one_sentence(self) -> None:
        for text in (
            *("", "First", " first", "first ", "begin", "0", "5", "offset", "offset=", "timestamp"),
            *("offset=-1", "offset=+1", "offset=1.5", "offset=1e3", "offset=0x1", "offset=1_0"),
            *("offset=٣", "offset = 1", "OFFSET=1", "first=1", "next=1", "1h", "offset=1\n"),
            f"offset={MAX_OFFSET + 1}",
            f"timestamp={MAX_TIMESTAMP + 1}",
            "offset=" + "9" * 5000,
        ):
            error = self.assertRaises(BadFrame, parse_start, text)
            self.assertLess(len(error.public), 100)

    @given(
        st.builds(Start, st.sampled_from(["first", "last", "next"]))
        | st.builds(Start, st.just("offset"), st.integers(0, MAX_OFFSET))
        | st.builds(Start, st.just("timestamp"), st.integers(0, MAX_TIMESTAMP))
    )
    def test_it_is_written_as_it_is_read(self, start: Start) -> None:
        self.assertEqual(parse_start(str(start)), start)

    @given(st.text() | st.from_regex(r"(offset|timestamp)=\d*"))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            start = parse_start(text)
        except BadFrame:
            return
        self.assertGreaterEqual(start.value, 0)
