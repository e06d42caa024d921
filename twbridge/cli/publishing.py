"""What ``twbridge pub`` does."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.python.failure import Failure

from twbridge.cli.talk import REFUSED, USAGE, End, Talk, end_of
from twbridge.client import Client
from twbridge.errors import TwbridgeError

__all__ = ["Publishing", "PublishingLines", "stdin"]

#: Lines that are published before the first of them is confirmed.
WINDOW: Final = 100
#: Bytes of a line.
LONGEST_LINE: Final = 1 << 20
_CHUNK: Final = 1 << 16


def stdin() -> bytes:
    """All of stdin."""
    try:
        return sys.stdin.buffer.read()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


class Publishing(Talk):
    """``twbridge pub``."""

    def __init__(
        self,
        destination: str,
        body: Any,
        *,
        headers: Mapping[str, str],
        properties: Mapping[str, Any],
        mandatory: bool | None,
        identity: str | None,
        client: str | None,
        timeout: float,
        **connection: Any,
    ) -> None:
        super().__init__(**connection)
        self._destination = destination
        self._body = body
        self._identity = identity
        self._name = client
        self._timeout = timeout
        self._settings: dict[str, Any] = {
            "headers": headers,
            "properties": properties,
            "mandatory": mandatory,
        }

    async def talk(self, reactor: Any) -> None:
        """Publish, and wait for the confirm."""
        client = self.open(reactor, self._name)
        publishing = Deferred.fromCoroutine(self.publish(client, reactor))
        publishing.addErrback(self.failed)
        try:
            await self.done
        finally:
            publishing.cancel()
            await client.close()

    async def publish(self, client: Client, reactor: Any) -> None:
        """Publish what there is; ``done`` fires when it is confirmed."""
        await self.send(client, self._body, id=self._identity)
        self.end()

    def send(self, client: Client, body: Any, **more: Any) -> Deferred[None]:
        """Publish one."""
        return client.publish(
            self._destination, body, timeout=self._timeout, **self._settings, **more
        )


class PublishingLines(Publishing):
    """``twbridge pub --lines``."""

    def __init__(self, destination: str, read: Callable[[bytes], Any], **options: Any) -> None:
        super().__init__(destination, None, **options)
        self._read = read
        self._window = DeferredSemaphore(WINDOW)
        self._error: End | None = None
        self._source: _Lines | None = None

    async def publish(self, client: Client, reactor: Any) -> None:
        """Publish lines as they come, until there are no more or one is refused."""
        self._source = source = _Lines(reactor)
        number = 0
        while (line := await source.next()) is not None:
            number += 1
            await self._window.acquire()
            try:
                sent = self.send(client, self._read(line))
            except ValueError as error:
                self._failed(End(USAGE, str(error)), number)
                self._window.release()
            else:
                sent.addErrback(self._not_sent, number)
                sent.addBoth(lambda _: self._window.release())
        for _ in range(WINDOW):
            await self._window.acquire()
        self.end(self._error or source.error)

    def _not_sent(self, failure: Failure, number: int) -> None:
        self._failed(failure.value, number)

    def _failed(self, error: BaseException | None, number: int) -> None:
        """The first that is refused is told; no more are published."""
        end = end_of(error) if isinstance(error, TwbridgeError) else error
        if self._error is None and isinstance(end, End):
            self._error = End(end.code, f"Line {number}: {end.line}")
        if self._source is not None:
            self._source.close()


class _Lines:
    """The lines of stdin, read by a thread: it may be a file, which no reactor can wait for."""

    def __init__(self, reactor: Any) -> None:
        self.error: End | None = None
        self._reactor = reactor
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = False
        self._waiting: Deferred[None] | None = None
        self._wanted = threading.Semaphore(0)
        # Not the reactor's pool: that waits for its threads, and this one for a terminal.
        threading.Thread(target=self._read, daemon=True).start()

    async def next(self) -> bytes | None:
        """The next line without its end; None after the last."""
        while not self._lines and not self._ended:
            self._waiting = Deferred()
            self._wanted.release()
            await self._waiting
        return self._lines.popleft() if self._lines else None

    def close(self) -> None:
        """There are no more lines, whatever stdin has."""
        self._lines.clear()
        self._ended = True
        self._wake()

    def _read(self) -> None:
        data = b"more"
        while data:
            self._wanted.acquire()
            # Without Python's buffer, whose lock must be free when the process ends.
            try:
                data = os.read(0, _CHUNK)
            except OSError:
                data = b""
            self._reactor.callFromThread(self._received, data)

    def _received(self, data: bytes) -> None:
        if self._ended:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            self._ended = True
            lines, self._rest = [self._rest] if self._rest else [], b""
        self._lines.extend(line.removesuffix(b"\r") for line in lines)
        if len(self._rest) > LONGEST_LINE:
            self.error = End(REFUSED, f"too_large: A line has more than {LONGEST_LINE} bytes.")
            self._ended = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)
