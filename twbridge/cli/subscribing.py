"""What ``twbridge sub`` does."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import sys
from datetime import datetime
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall

from twbridge.cli.talk import AWAY, REFUSED, End, Talk, say
from twbridge.client import Client, Gap, Message
from twbridge.destinations import parse

__all__ = ["Subscribing", "readable"]

#: Seconds in which the first connection must be there.
CONNECT_SECONDS: Final = 10.0
#: Seconds after which it is noticed that nobody reads the output.
UNREAD_SECONDS: Final = 0.5
#: What a terminal would obey, and what would make two lines of one.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Subscribing(Talk):
    """``twbridge sub``."""

    def __init__(
        self,
        destinations: tuple[str, ...],
        *,
        start: str | None,
        count: int | None,
        timeout: float | None,
        ack: Any,
        prefetch: int | None,
        overflow: Any,
        headers: bool,
        as_json: bool,
        **connection: Any,
    ) -> None:
        super().__init__(**connection)
        self._destinations = destinations
        self._start = start
        self._left = count
        self._timeout = timeout
        self._ack = ack
        self._prefetch = prefetch
        self._overflow = overflow
        self._headers = headers
        self._as_json = as_json
        self._quiet: IDelayedCall | None = None
        self._reactor: Any = None

    async def talk(self, reactor: Any) -> None:
        """Subscribe, and print until it is enough."""
        self._reactor = reactor
        client = self.open(reactor)
        patience = min(CONNECT_SECONDS, self._timeout or CONNECT_SECONDS)
        deadline = reactor.callLater(patience, lambda: self.end(self.no_connection(patience)))
        beginning = Deferred.fromCoroutine(self._begin(client, deadline))
        beginning.addErrback(self.failed)
        watch = LoopingCall(self._end_unread)
        watch.clock = reactor
        watching = watch.start(UNREAD_SECONDS)
        watching.addErrback(self.failed)
        try:
            await self.done
        finally:
            if watch.running:
                watch.stop()
            for call in (deadline, self._quiet):
                if call is not None and call.active():
                    call.cancel()
            self._left = 0
            beginning.cancel()
            await client.close()

    async def _begin(self, client: Client, deadline: IDelayedCall) -> None:
        await client.connect()
        deadline.cancel()
        self._wait()
        for destination in self._destinations:
            await self._subscribe(client, destination)

    def _subscribe(self, client: Client, destination: str) -> Deferred[Any]:
        kind = parse(destination).kind
        ack, prefetch = self._ack, self._prefetch
        if ack is None and kind in ("queue", "amq-queue"):
            ack = "client"
        if ack == "client":
            # Some are not printed, after the last one that was wanted.
            ack = "manual"
        if ack == "manual" and prefetch is None and self._left is not None:
            # What is not printed goes back: take no more than is needed.
            prefetch = min(self._left, 20)
        return client.subscribe(
            destination,
            self._print,
            ack=ack,
            prefetch=prefetch,
            start=self._start if kind == "stream" else None,
            overflow=self._overflow,
            on_gap=lambda gap: say(f"{destination}: {_gap(gap)}"),
            on_dropped=lambda number: say(f"{destination}: messages dropped: {number}"),
            on_ended=lambda error: self.end(error) if error is not None else None,
        )

    def _end_unread(self) -> None:
        """It is done when nobody reads the output any more, even if there is nothing to print."""
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in output.poll(0)):
            self.end()

    def _wait(self) -> None:
        """The time without a message begins again."""
        if self._timeout is None:
            return
        if self._quiet is not None:
            self._quiet.reset(self._timeout)
            return
        end = End(AWAY, f"Nothing came for {self._timeout:g} s.")
        self._quiet = self._reactor.callLater(self._timeout, self.end, end)

    def _print(self, message: Message) -> None:
        if self._left == 0 or self.done.called:
            return
        try:
            line = message.line if self._as_json else readable(message, headers=self._headers)
            sys.stdout.buffer.write(line.encode(errors="replace") + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Nobody reads any more. What Python has not written yet must not fail at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.end()
            return
        except OSError as error:
            self.end(End(REFUSED, f"The output can't be written: {error.strerror}."))
            return
        message.ack()
        self._wait()
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.end()


def readable(message: Message, *, headers: bool, now: datetime | None = None) -> str:
    """A message on one line: its time, where it comes from, and its body."""
    kind = parse(message.destination).kind
    source = message.destination
    if kind in ("topic", "exchange"):
        source = message.routing_key or source
    elif message.offset is not None:
        source = f"{source}@{message.offset}"
    parts = [(now or datetime.now()).strftime("%H:%M:%S.%f")[:-3], _shown(source)]
    if message.redelivered:
        parts.append("(redelivered)")
    if headers:
        parts.append(json.dumps(message.headers, ensure_ascii=False, separators=(",", ":")))
    parts.append(_body(message))
    return " ".join(parts)


def _body(message: Message) -> str:
    body = None if message.is_json else message.body
    if isinstance(body, bytes):
        return f"base64:{base64.b64encode(body).decode()}"
    if isinstance(body, str):
        return _shown(body)
    try:
        return _shown(msgspec.json.format(message.data, indent=-1).decode())
    except msgspec.DecodeError:
        return _shown(message.text)


def _shown(text: str) -> str:
    """Text that is one line and leaves the terminal alone."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _gap(gap: Gap) -> str:
    if gap.first is None or gap.resumed is None:
        return "Messages may be missing."
    if gap.resumed <= gap.first:
        return f"The stream was made anew; it goes on with offset {gap.resumed}."
    return f"The messages from offset {gap.first} to {gap.resumed - 1} are missing."
