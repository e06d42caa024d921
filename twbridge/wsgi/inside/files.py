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
    the application suggests; of others, such as pipes, no more than that at once.

    Args:
        file: has ``read(size)``; closed with this, if it has ``close``.
        size: bytes of one block, as the application suggests it.
    """

    def __init__(self, file: Any, size: int = PIECE) -> None:
        self._read = file.read
        self._size = PIECE if size < PIECE and _is_at_hand(file) else size
        if hasattr(file, "close"):
            self.close = file.close

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
