"""A client of the embedded broker without a socket: what it sends is answered at once."""

from __future__ import annotations

from typing import Any

from pamqp import base, commands
from twisted.internet.task import Clock

from twbridge import wire
from twbridge.broker.connection import Connection
from twbridge.broker.limits import Limits
from twbridge.broker.messages import Memory
from twbridge.broker.vhost import VirtualHost

CAPABILITIES = {
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Client:
    """Implements the Transport port of :class:`Connection` and reads what is written to it.

    Args:
        vhost: shared by all clients of one test.
        login: False stops before the protocol header.
    """

    def __init__(
        self,
        vhost: VirtualHost | None = None,
        *,
        login: bool = True,
        limits: Limits | None = None,
        capabilities: dict[str, bool] | None = None,
        channels: int = 1,
    ) -> None:
        self.clock = Clock()
        self.vhost = vhost or VirtualHost(self.clock, Memory())
        #: Every byte that was written.
        self.raw = b""
        self.events: list[wire.Event] = []
        #: The events behind the lines returned last.
        self.last: list[wire.Event] = []
        self.log: list[str] = []
        self.heartbeat: int | None = None
        self.closed = False
        self.reading = True
        self._reader = wire.FrameReader()
        self.limits = limits or Limits()
        self.connection = Connection(self, self.vhost, self.limits, {"guest": "guest"})
        if login:
            self.login(capabilities=CAPABILITIES if capabilities is None else capabilities)
            for number in range(1, channels + 1):
                self.call(commands.Channel.Open(), number)

    # -- the Transport port -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after close"
        self.raw += data
        if data != wire.PROTOCOL_HEADER:
            self.events += self._reader.receive(data)

    def negotiated(self, heartbeat: int) -> None:
        self.heartbeat = heartbeat

    def closing(self) -> None:
        self.log.append("closing")

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    # -- a client -----------------------------------------------------------------------------

    def login(
        self,
        *,
        mechanism: str = "PLAIN",
        response: str = "\0guest\0guest",
        capabilities: dict[str, bool] | None = None,
        vhost: str = "/",
        heartbeat: int = 60,
    ) -> list[str]:
        """Go through the whole handshake; return what came last."""
        properties: dict[str, Any] = {"capabilities": dict(capabilities or {})}
        self.send(wire.PROTOCOL_HEADER)
        lines = self.call(commands.Connection.StartOk(properties, mechanism, response), 0)
        if not self.closed and not self.log:
            limits = self.limits
            self.call(
                commands.Connection.TuneOk(limits.channel_max, limits.frame_max, heartbeat), 0
            )
            lines = self.call(commands.Connection.Open(vhost), 0)
        return lines

    def call(self, method: base.Frame, channel: int = 1) -> list[str]:
        """Send a method; return what came since the last look, each as one line."""
        return self.send(wire.method_frame(channel, method))

    def send(self, data: bytes) -> list[str]:
        """Send bytes; return what came since the last look, each as one line."""
        self.connection.receive(data)
        return self.seen()

    def seen(self) -> list[str]:
        """What came since the last look."""
        self.last = list(self.events)
        self.events.clear()
        return [shown(event) for event in self.last]

    def publish(
        self,
        exchange: str = "",
        routing_key: str = "",
        body: bytes = b"x",
        *,
        channel: int = 1,
        mandatory: bool = False,
        immediate: bool = False,
        **properties: Any,
    ) -> list[str]:
        """Publish; return what came since the last look."""
        method = commands.Basic.Publish(
            exchange=exchange, routing_key=routing_key, mandatory=mandatory, immediate=immediate
        )
        raw = wire.encode_properties(properties)
        frame_max = self.limits.frame_max
        return self.send(wire.content_frames(channel, method, raw, body, frame_max))

    def ack(self, tag: int, multiple: bool = False, channel: int = 1) -> list[str]:
        return self.send(wire.ack_frame(channel, tag, multiple))

    def nack(
        self, tag: int, multiple: bool = False, requeue: bool = True, channel: int = 1
    ) -> list[str]:
        return self.send(wire.nack_frame(channel, tag, multiple, requeue))

    def queue(self, name: str = "q", **properties: Any) -> str:
        """Declare a queue; return its name."""
        self.call(commands.Queue.Declare(queue=name, **properties))
        (event,) = self.last
        assert isinstance(event, wire.Method), event
        declared: str = event.method.queue
        return declared

    def consume(self, queue: str = "q", tag: str = "c", **properties: Any) -> list[str]:
        return self.call(commands.Basic.Consume(queue=queue, consumer_tag=tag, **properties))


def shown(event: wire.Event) -> str:
    """An event in one line: ``deliver c 1 'x'``, ``channel.close 404 NOT_FOUND - ...``."""
    if isinstance(event, wire.Delivery):
        again = " again" if event.redelivered else ""
        return f"deliver {event.consumer_tag} {event.delivery_tag} {text(event.body)}{again}"
    if isinstance(event, wire.Content):
        return f"{event.method.name.lower()} {event.method.routing_key} {text(event.body)}"
    if isinstance(event, wire.Confirm):
        word = "ack" if event.ack else "nack"
        return f"{word} {event.delivery_tag}" + (" multiple" if event.multiple else "")
    if isinstance(event, wire.Heartbeat):
        return "heartbeat"
    method = event.method
    if isinstance(method, commands.Connection.Close | commands.Channel.Close):
        return f"{method.name.lower()} {method.reply_code} {method.reply_text}"
    values = " ".join(str(value) for _, value in method if value not in ("", None))
    return f"{method.name.lower()} {values}".rstrip()


def text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
