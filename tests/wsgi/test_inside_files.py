"""``wsgi.file_wrapper``, and what frameworks do with it."""

from __future__ import annotations

import io
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from werkzeug.utils import send_file

from tests.wsgi.inside_case import LaneCase, request
from twbridge.wsgi.inside.files import FileWrapper


class Noted(io.BytesIO):
    """A file that notes how much of it was read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


class Pipe:
    """What can only be read."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


class SeekTests(SynchronousTestCase):
    """Where it begins."""

    def test_it_is_as_seekable_as_its_file(self) -> None:
        wrapper = FileWrapper(io.BytesIO(b"0123456789"), 4)
        self.assertTrue(wrapper.seekable())
        self.assertEqual(wrapper.seek(7), 7)
        self.assertEqual(wrapper.tell(), 7)
        self.assertEqual(list(wrapper), [b"789"])
        self.assertEqual(wrapper.seek(-2, os.SEEK_END), 8)
        self.assertEqual(list(wrapper), [b"89"])

    def test_what_can_only_be_read_is_not(self) -> None:
        reading, writing = os.pipe()
        os.close(writing)
        closed = io.BytesIO()
        closed.close()
        with open(reading, "rb") as pipe:
            for file in (pipe, Pipe(b"0123456789"), closed):
                self.assertFalse(FileWrapper(file).seekable())


class RangeTests(LaneCase):
    """Ranges of files, as Flask sends them."""

    def end(self, file: Any) -> bytes:
        """The end of a large file."""

        def app(environ: Any, start_response: Any) -> Any:
            response = send_file(file, environ, "video/mp4", conditional=False)
            response.make_conditional(environ, accept_ranges=True, complete_length=2_000_000)
            return response(environ, start_response)

        start, body = self.answer(app, request(fields={"range": "bytes=1999990-"}))
        self.assertEqual(start.status, 206)
        return body

    def test_what_is_before_the_range_is_not_read(self) -> None:
        file = Noted(bytes(1_999_990) + b"0123456789")
        self.assertEqual(self.end(file), b"0123456789")
        self.assertEqual(file.count, 10)

    def test_unless_the_file_can_only_be_read(self) -> None:
        self.assertEqual(self.end(Pipe(bytes(1_999_990) + b"0123456789")), b"0123456789")
