"""What the application answers: ``start_response``, ``write()``, and the iterable it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final

from twbridge.wsgi.fields import checked, content_length, is_bodiless
from twbridge.wsgi.inside.lane import Exchange
from twbridge.wsgi.messages import PIECE, Fields, Part, Start
from twbridge.wsgi.pipe import LAST, MESSAGE

__all__ = ["Answer"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Write = Callable[[bytes], None]

_TOO_LONG: Final = "the body is longer than its Content-Length"


class Answer:
    """The answer to one request, sent as it is made.

    Each block is on its way before the next one is asked for. An answer that ends with its first
    block, because its ``Content-Length`` says so or because it is in one list, is one message.

    Args:
        exchange: where it goes.
        method: of the request.

    Attributes:
        is_complete: all of it was sent.
    """

    __slots__ = (
        "_exchange",
        "_fields",
        "_has_no_body",
        "_is_begun",
        "_last",
        "_left",
        "_method",
        "_number",
        "_reason",
        "_status",
        "is_complete",
    )

    def __init__(self, exchange: Exchange, method: str) -> None:
        self._exchange = exchange
        self._method = method
        self._status = 0
        self._reason = ""
        self._fields: Fields = []
        #: Bytes of the body to come; None: the application has not said it.
        self._left: int | None = None
        self._has_no_body = False
        self._is_begun = False
        self._number = 0
        #: The kind of the frame that ends it.
        self._last: int = MESSAGE
        self.is_complete = False

    # -- what the application calls

    def start_response(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Write:
        """Set the head of the answer; it is sent with the first bytes of the body.

        Raises:
            RuntimeError: it is set already, and there is no ``exc_info``.
            ValueError: there can't be such a head.
            BaseException: that of ``exc_info``, where the head was sent.
        """
        if exc_info:
            try:
                if self._is_begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._status:
            raise RuntimeError("start_response was called already")
        code, reason = _parsed(status)
        fields = checked(code, reason, headers)
        self._status, self._reason, self._fields = code, reason, fields
        self._has_no_body = is_bodiless(self._method, code)
        self._left = 0 if self._has_no_body else content_length(fields)
        return self.write

    def write(self, data: bytes, /) -> None:
        """Send some bytes of the body, at once; and the head, even if they are none.

        Raises:
            Gone: the client has left.
            ValueError: they are more than ``Content-Length`` allows.
        """
        _check(data)
        self._exchange.check()
        if not self.is_complete:
            self._give(data)
        elif data and not self._has_no_body:
            raise ValueError(_TOO_LONG)

    # -- what it returns

    def take(self, result: Iterable[bytes]) -> None:
        """Send what the application has returned; it is not closed here.

        Raises:
            Gone: the client has left.
            RuntimeError: it has not called ``start_response``.
            TypeError: it is no iterable of bytes.
            ValueError: it is not as long as ``Content-Length`` says.
        """
        if result is None:
            raise TypeError("the application has returned None, not an iterable")
        if not hasattr(result, "close"):
            self._last = LAST
        if type(result) is list or type(result) is tuple:
            for block in result:
                _check(block)
            self._take_whole(result[0] if len(result) == 1 else b"".join(result))
            return
        is_single = _length(result) == 1
        for block in result:
            if is_single:
                _check(block)
                self._take_whole(block)
                return
            if block:
                self.write(block)
            else:
                # No bytes are no reason to send the head, but a good moment to notice a cancel.
                _check(block)
                self._exchange.look()
            if self.is_complete:
                return
        self._finish()

    def _take_whole(self, data: bytes) -> None:
        self._say_length(len(data))
        if data:
            self.write(data)
        if not self.is_complete:
            self._finish()

    def _finish(self) -> None:
        if not self._status:
            raise RuntimeError("the application has not called start_response")
        if self._left:
            raise ValueError(f"the body is {self._left} bytes short of its Content-Length")
        self._say_length(0)
        self._send(b"", True)

    def _say_length(self, size: int) -> None:
        """Say the length of the body, where the application has left that to us."""
        fields = self._fields
        if self._is_begun or content_length(fields) is not None or is_bodiless("", self._status):
            return
        if not self._has_no_body:
            self._left = size
        elif not size:
            # What GET would give is not known.
            return
        fields.append(("Content-Length", str(size)))

    # -- what is sent

    def _give(self, data: bytes) -> None:
        left = self._left
        if not self._status:
            raise RuntimeError("the application has not called start_response")
        if not data and self._is_begun:
            self._exchange.look()
        elif left is None:
            self._send(data, False)
        elif self._has_no_body:
            self._send(b"", True)
        elif len(data) <= left:
            self._left = left - len(data)
            self._send(data, not self._left)
        else:
            self._left = 0
            self._send(data[:left], True)
            raise ValueError(_TOO_LONG)

    def _send(self, data: bytes, is_last: bool) -> None:
        """Send a block, in pieces, as the credit allows."""
        exchange = self._exchange
        size = len(data)
        if is_last and not self._is_begun and size <= PIECE and size <= exchange.credit:
            self._send_piece(data, False)
            return
        begin = 0
        while True:
            exchange.look()
            if begin < size:
                exchange.wait(lambda: exchange.credit > 0)
            end = min(size, begin + PIECE, begin + max(exchange.credit, 0))
            more = not is_last or end < size
            self._send_piece(data[begin:end], more)
            begin = end
            if begin >= size:
                return

    def _send_piece(self, data: bytes, more: bool) -> None:
        exchange = self._exchange
        exchange.spend(len(data))
        message: Start | Part
        if self._is_begun:
            self._number += 1
            message = Part(self._number, data, more)
        else:
            self._is_begun = True
            message = Start(self._status, self._reason, self._fields, data, more)
        if not more:
            self.is_complete = True
        exchange.send(MESSAGE if more else self._last, message)


def _check(data: object) -> None:
    if not isinstance(data, bytes):
        raise TypeError(f"a block of the body is {type(data).__name__}, not bytes")


def _length(result: Iterable[bytes]) -> int | None:
    """How many blocks there are; None: nobody knows."""
    try:
        return len(result)  # type: ignore[arg-type]
    except (TypeError, AttributeError, NotImplementedError):
        return None


def _parsed(status: str) -> tuple[int, str]:
    """The number and the reason of a status, ``200 OK``."""
    if not isinstance(status, str):
        raise TypeError(f"the status is {type(status).__name__}, not str")
    code = status[:3]
    if len(code) < 3 or not (code.isascii() and code.isdigit() and status[3:4] in ("", " ")):
        raise ValueError(f"{status[:100]!r} is no status: it is to be like '200 OK'")
    return int(code), status[4:]
