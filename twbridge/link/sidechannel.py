"""Synchronous methods on a channel of their own, pipelined."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twbridge.errors import ChannelClosed, ProtocolClosed
from twbridge.link.channel import Channel
from twbridge.link.connection import Connection

Call = Callable[[Channel], "Deferred[Any]"]


class SideChannel:
    """Where things are declared and bound.

    The broker closes a channel on the first method that it refuses. Answers come in order, so
    the refused one is the oldest without an answer: it alone fails, and those behind it are sent
    again on a new channel. Declaring and binding again what was done already changes nothing.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._opening = False
        self._todo: deque[tuple[Call, Deferred[Any]]] = deque()
        self._sent: deque[tuple[Call, Deferred[Any]]] = deque()

    def ask(self, call: Call) -> Deferred[Any]:
        """Have ``call`` made with a channel; fires with its answer.

        It fails with ChannelClosed (refused), ConnectionClosed (lost meanwhile) or EncodeError.
        """
        result: Deferred[Any] = Deferred()
        self._todo.append((call, result))
        if self._channel is not None:
            self._flush(self._channel)
        elif not self._opening:
            self._open()
        return result

    def _open(self) -> None:
        self._opening = True
        opened = Deferred.fromCoroutine(self._connection.open_channel())
        opened.addCallbacks(self._opened, self._failed)

    def _opened(self, channel: Channel) -> None:
        self._opening = False
        self._channel = channel
        channel.on_closed = self._closed
        self._flush(channel)

    def _failed(self, failure: Failure) -> None:
        self._opening = False
        todo, self._todo = self._todo, deque()
        for _, result in todo:
            _settle(result, failure)

    def _flush(self, channel: Channel) -> None:
        while self._todo:
            call, result = self._todo.popleft()
            try:
                answer = call(channel)
            except Exception:  # an argument that can't be sent: its caller's
                result.errback(Failure())
                continue
            self._sent.append((call, result))
            answer.addCallbacks(self._answered, lambda _: None)  # a failure comes by _closed

    def _answered(self, answer: object) -> None:
        _, result = self._sent.popleft()
        _settle(result, answer)

    def _closed(self, error: ProtocolClosed) -> None:
        self._channel = None
        sent, self._sent = self._sent, deque()
        refused = sent.popleft()[1] if isinstance(error, ChannelClosed) and sent else None
        self._todo.extendleft(reversed(sent))
        if self._todo:
            self._open()
        if refused is not None:
            _settle(refused, Failure(error))


def _settle(result: Deferred[Any], value: object) -> None:
    if not result.called:
        result.callback(value)
