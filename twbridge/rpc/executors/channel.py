"""The worker's end of the pipe to a child: a socket that is read and written by the reactor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twbridge.rpc.pipes import READ

__all__ = ["Channel"]

#: Bytes that are offered to the socket in one system call.
_PIECE: Final = 1024 * 1024


@implementer(IReadWriteDescriptor)
class Channel:
    """Bytes to and from a child.

    What is written in one turn of the reactor leaves at its end, in one system call where the
    socket takes it.

    Args:
        reactor: the reactor.
        end: our end of a pair of sockets; it is closed with this.
        on_bytes: called with what is read.
        on_end: called once, when the child has closed its end.

    Attributes:
        unread: whether the child has surely ended without reading all that it was sent. On Linux
            that is known whenever it is so.
    """

    def __init__(
        self,
        reactor: Any,
        end: socket.socket,
        on_bytes: Callable[[bytes], object],
        on_end: Callable[[], object],
    ) -> None:
        end.setblocking(False)
        self._reactor = reactor
        self._socket = end
        self._on_bytes = on_bytes
        self._on_end = on_end
        self._pieces: list[bytes] = []
        self._rest = memoryview(b"")
        self._is_flushing = False
        self._is_open = True
        self.unread = False
        self.resume()

    def send(self, data: bytes) -> None:
        """Write a frame at the end of this turn."""
        if not self._is_open:
            self.unread = True
            return
        self._pieces.append(data)
        if not self._is_flushing:
            self._is_flushing = True
            self._reactor.callLater(0, self._flush)

    def send_now(self, data: bytes) -> None:
        """Write a frame that no other of this turn follows."""
        if self._is_open and not self._pieces and not self._rest:
            self._pieces.append(data)
            if self._write():
                self._reactor.addWriter(self)
        else:
            self.send(data)

    def pause(self) -> None:
        """Read nothing for now: then the child waits, once the pipe is full."""
        if self._is_open:
            self._reactor.removeReader(self)

    def resume(self) -> None:
        """Read on."""
        if self._is_open:
            self._reactor.addReader(self)

    def drain(self) -> None:
        """Read what is there, and no more. For a child that has ended."""
        while self._is_open:
            try:
                data = self._socket.recv(READ)
            except OSError as error:
                self._note(error)
                return
            if not data:
                return
            self._on_bytes(data)

    def close(self) -> None:
        """Close it; nothing is called any more."""
        if self._is_open:
            self._is_open = False
            self.unread = self.unread or bool(self._pieces or self._rest)
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._pieces.clear()
            self._rest = memoryview(b"")
            self._socket.close()

    def _flush(self) -> None:
        self._is_flushing = False
        if self._is_open and not self._rest and self._write():
            self._reactor.addWriter(self)

    def _write(self) -> bool:
        """Write what the socket takes. Whether there is more."""
        while self._rest or self._pieces:
            if not self._rest:
                self._rest = memoryview(b"".join(self._pieces))
                self._pieces.clear()
            try:
                sent = self._socket.send(self._rest[:_PIECE])
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                # Its end is closed; what it wrote before is still to be read.
                self.unread = True
                self._pieces.clear()
                sent = len(self._rest)
            self._rest = self._rest[sent:]
        return False

    # -- what the reactor calls

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "task process"

    def doWrite(self) -> None:
        if not self._write():
            self._reactor.removeWriter(self)

    def doRead(self) -> None:
        try:
            data = self._socket.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._note(error)
            data = b""
        if data:
            self._on_bytes(data)
        else:
            self._lost()

    def connectionLost(self, reason: Failure) -> None:
        self._lost()

    def _note(self, error: OSError) -> None:
        if error.errno == errno.ECONNRESET:
            self.unread = True

    def _lost(self) -> None:
        if self._is_open:
            self.close()
            self._on_end()
