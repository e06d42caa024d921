"""A publisher of messages that are encoded before the run starts."""

from __future__ import annotations

import socket
from urllib.parse import unquote, urlsplit

from pamqp import base, commands, frame, header
from pamqp.body import ContentBody


def login(url: str) -> socket.socket:
    """Open an AMQP connection with channel 1 on it and return its blocking socket."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    secret = f"\0{unquote(parts.username or 'guest')}\0{unquote(parts.password or 'guest')}"
    vhost = unquote(parts.path[1:]) or "/"
    connection.sendall(b"AMQP\x00\x00\x09\x01")
    _expect(connection, "Connection.Start")
    _send(connection, 0, commands.Connection.StartOk(response=secret, locale="en_US"))
    _expect(connection, "Connection.Tune")
    _send(connection, 0, commands.Connection.TuneOk(channel_max=16, frame_max=131072, heartbeat=0))
    _send(connection, 0, commands.Connection.Open(virtual_host=vhost))
    _expect(connection, "Connection.OpenOk")
    _send(connection, 1, commands.Channel.Open())
    _expect(connection, "Channel.OpenOk")
    return connection


def call(connection: socket.socket, method: base.Frame) -> base.Frame:
    """Call a method on channel 1 and return the broker's answer."""
    _send(connection, 1, method)
    return _expect(connection, f"{method.name}Ok")


def _send(connection: socket.socket, channel: int, method: base.Frame) -> None:
    connection.sendall(frame.marshal(method, channel))


def _expect(connection: socket.socket, name: str) -> base.Frame:
    """Read one frame, which must be the method ``name``; the broker sends nothing else before."""
    head = _read(connection, 7)
    size = int.from_bytes(head[3:7], "big")
    _, _, method = frame.unmarshal(head + _read(connection, size + 1))
    if not isinstance(method, base.Frame) or method.name != name:
        raise ConnectionError(f"The broker sent {method!r}, not {name}")
    return method


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("The broker closed the connection")
        data += more
    return data


def publish_frames(
    exchange: str, routing_key: str, body: bytes, content_type: str | None = None
) -> bytes:
    """The three frames of one basic.publish on channel 1."""
    properties = commands.Basic.Properties(content_type=content_type)
    return b"".join(
        (
            frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=routing_key), 1),
            frame.marshal(header.ContentHeader(0, len(body), properties), 1),
            frame.marshal(ContentBody(body), 1),
        )
    )


class Source:
    """Publishes one message again and again, in bursts, without ever blocking.

    Args:
        url: The broker.
        exchange: A topic exchange, declared if it does not exist.
        message: The frames of one message, from `publish_frames`.
        burst: How many messages one `offer` adds.
    """

    def __init__(self, url: str, exchange: str, message: bytes, burst: int = 100) -> None:
        self._connection = login(url)
        call(
            self._connection,
            commands.Exchange.Declare(exchange=exchange, exchange_type="topic", durable=True),
        )
        self._connection.setblocking(False)
        self._message = message
        self._burst = message * burst
        self._size = burst
        self._pending = memoryview(b"")
        self.published = 0

    def publish(self, message: bytes | None = None) -> None:
        """Publish one message at once: the source's own, or another one's frames."""
        data = self._message if message is None else message
        if self._connection.send(data) != len(data):
            raise RuntimeError("The broker does not read, though the load is small")
        self.published += 1

    def offer(self) -> bool:
        """Publish another burst, or the rest of one; False if some of it has to wait."""
        if not self._pending:
            self._pending = memoryview(self._burst)
            self.published += self._size
        return self.flush()

    def flush(self) -> bool:
        """Send what the socket takes of a burst that has begun; False if some has to wait."""
        if self._pending:
            try:
                sent = self._connection.send(self._pending)
            except BlockingIOError:
                return False
            self._pending = self._pending[sent:]
        return not self._pending

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()
