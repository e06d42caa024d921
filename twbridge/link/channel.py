"""A channel: txAMQP's generated methods, with answers, closing and cancelling done right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pamqp import commands
from twisted.internet.defer import Deferred, fail, succeed
from txamqp.message import Message
from txamqp.protocol import AMQChannel

from twbridge import wire
from twbridge.errors import ChannelClosed, FrameError, ProtocolClosed

if TYPE_CHECKING:
    from twbridge.link.connection import Connection


def ignore(_: object) -> None:
    """What a callback is until someone sets it."""


class Channel(AMQChannel):
    """A channel. Its generated methods give a Deferred of txAMQP's Message.

    Attributes:
        on_closed: called once with the error when the channel is gone for any reason but our own
            close.
        on_confirm: called for each basic.ack and basic.nack of the broker.
        on_return: called for each basic.return.
        on_cancel: called with the consumer tag when the broker ends a consumer.
        consumers: consumer tag -> what is called for each of its deliveries.
    """

    def __init__(self, id: int, outgoing: object, client: Connection) -> None:
        # Not AMQChannel's: its queues would fetch the global reactor.
        self.id = id
        self.client = client
        self.closed = False
        self.reason: ProtocolClosed | None = None
        self.consumers: dict[str, Callable[[wire.Delivery], object]] = {}
        self.on_confirm: Callable[[wire.Confirm], object] = ignore
        self.on_return: Callable[[wire.Content], object] = ignore
        self.on_closed: Callable[[ProtocolClosed], object] = ignore
        self.on_cancel: Callable[[str], object] = ignore
        self._unanswered: deque[tuple[Deferred[Any], Any]] = deque()
        self._close_waits: Deferred[None] | None = None

    def invoke(self, method: Any, args: tuple[Any, ...], content: object = None) -> Deferred[Any]:
        """Send a method. The Deferred fires with the answer, or at once where there is none.

        It fails with ChannelClosed or ConnectionClosed when the broker closes instead. To cancel
        it closes the channel, because an answer that comes later could not be told apart.

        Raises:
            EncodeError: an argument that can't be encoded; nothing was sent.
        """
        if self.closed:
            return fail(self.reason or ChannelClosed(0, "the channel is closed"))
        kind: Any = commands.INDEX_MAPPING[method.klass.id << 16 | method.id]
        command = kind.__new__(kind)
        for name, value in zip(kind.__slots__, args, strict=True):
            setattr(command, name, value)
        self.client.write(wire.method_frame(self.id, command))
        if not method.responses or getattr(command, "nowait", False):
            return succeed(None)
        answer: Deferred[Any] = Deferred(self._cancelled)
        self._unanswered.append((answer, method))
        return answer

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The methods that txAMQP generates from the spec: ``queue_declare`` and the like."""

    def answered(self, message: Message) -> None:
        """The broker answered the oldest method that waits."""
        if not self._unanswered:
            raise FrameError(503, f"{message.method} answers nothing")
        answer, method = self._unanswered[0]
        if message.method not in method.responses:
            raise FrameError(503, f"{message.method} does not answer {method}")
        self._unanswered.popleft()
        if not answer.called:
            answer.callback(message)

    def _cancelled(self, _answer: Deferred[Any]) -> None:
        self.close("a call was cancelled")

    def close(self, reason: object = "closed") -> Deferred[None]:
        """Close the channel; fires when the broker has agreed and the id is free again."""
        if self.closed:
            return succeed(None)
        self._close_waits = Deferred()
        self.client.write(
            wire.method_frame(self.id, commands.Channel.Close(200, str(reason), 0, 0))
        )
        self.settle(ChannelClosed(0, str(reason)), told=False)
        return self._close_waits

    def close_agreed(self) -> None:
        """The broker answered our close, or the connection is gone: the id is free again."""
        self.client.forget(self)
        waits, self._close_waits = self._close_waits, None
        if waits is not None:
            waits.callback(None)

    def settle(self, error: ProtocolClosed, told: bool = True) -> None:
        """The channel is gone: fail what waits for an answer, and tell the owner."""
        waiting, self._unanswered = self._unanswered, deque()
        already, self.closed = self.closed, True
        self.reason = self.reason or error
        self.consumers = {}
        self.on_confirm = self.on_return = self.on_cancel = ignore
        for answer, _ in waiting:
            if not answer.called:
                answer.errback(error)
        if told and not already:
            on_closed, self.on_closed = self.on_closed, ignore
            on_closed(error)
