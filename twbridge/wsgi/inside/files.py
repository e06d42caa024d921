"""``wsgi.file_wrapper``: a file as the body of an answer."""

from __future__ import annotations

import io
import os
import stat
from typing import Any

from twbridge.wsgi.messages import PIECE

__all__ = ["FileWrapper"]


class FileWrapper:
    """Iterates over what is left of a file.

    Of a file that is there as a whole, on disk or in memory, whole pieces are read, whatever size
    the application suggests; of others, such as pipes, no more than that at once. It is as seekable
    as the file: frameworks begin a range (RFC 9110, section 14) in its midst.

    Args:
        file: has ``read(size)``; closed with this, if it has ``close``.
        size: bytes of one block, as the application suggests it.
    """

    def __init__(self, file: Any, size: int = PIECE) -> None:
        self._file = file
        self._read = file.read
        self._size = PIECE if size < PIECE and _is_at_hand(file) else size
        if hasattr(file, "close"):
            self.close = file.close

    def seekable(self) -> bool:
        """Whether `seek` and `tell` are of use."""
        try:
            return bool(self._file.seekable())
        except (AttributeError, ValueError):
            return False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As the file has it."""
        at: int = self._file.seek(offset, whence)
        return at

    def tell(self) -> int:
        """As the file has it."""
        at: int = self._file.tell()
        return at

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self._read(self._size)
        if not data:
            raise StopIteration
        return data


def _is_at_hand(file: Any) -> bool:
    if isinstance(file, io.BytesIO):
        return True
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError, TypeError, ValueError):
        return False
