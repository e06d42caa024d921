"""STOMP over WebSocket: sends with receipts, and how fast clients become subscribers.

Both servers have the same client, to the byte; the address differs.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import time
from contextlib import closing
from dataclasses import dataclass

from pamqp import commands

from benchmarks.fanout import BODY, CONTENT_TYPE
from benchmarks.meter import Meter
from benchmarks.publishing import BURST, PublishRun, measure
from benchmarks.servers import Broker, Watched
from benchmarks.sockets import connect_many, masked_text
from benchmarks.source import Source, call, login, publish_frames
from benchmarks.subjects import STOMP_DIALECT, STOMP_LOGIN, Stomp, stomp

AT_ONCE = 32
"""Conversations under way at once, while clients connect."""
_DEADLINE = 60.0
_QUIET = 0.05


def run_sends(subject: Stomp, broker: Broker, count: int, seconds: float) -> PublishRun:
    """Send persistent messages to one ``/queue/`` from ``count`` clients, each with a receipt.

    The queue is as the first ``SEND`` makes it, durable, and nobody reads it. In the end it must
    have every message that a receipt came for.

    Raises:
        RuntimeError: A send was refused or not answered, or a message is not in the queue.
    """
    queue = f"{subject.exchange}.sends"
    with closing(login(broker.url)) as control:
        call(control, commands.Queue.Delete(queue=queue))
        call(
            control,
            commands.Exchange.Declare(
                exchange=subject.exchange, exchange_type="topic", durable=True
            ),
        )
        clients = list(connect_many(subject.address, count, STOMP_DIALECT))
        # Something to hear makes no difference to sending; the receipt says that all is ready.
        stomp(clients, f"destination:{subject.destination}")
        for client in clients:
            client.socket.sendall(send_frame(queue, 0))
            payload, answer = client.read_sized_frame()
            if payload.rstrip(b"\0\n") != b"RECEIPT\nreceipt-id:p00":
                raise RuntimeError(f"Expected a receipt, received {payload!r}")
        burst = b"".join(send_frame(queue, number) for number in range(BURST))
        run, sent = measure(clients, burst, answer, (subject.process, broker.process), seconds)
        deleted: object = call(control, commands.Queue.Delete(queue=queue))
        kept = getattr(deleted, "message_count", None)
        if kept != sent + count:
            raise RuntimeError(f"{sent + count} messages were confirmed, {kept} are in the queue")
    quiet(subject.process, broker.process)
    return run


def send_frame(queue: str, number: int) -> bytes:
    """A SEND to a queue, in a WebSocket frame, with a number for its receipt."""
    headers = {
        "destination": f"/queue/{queue}",
        "persistent": "true",
        "content-type": CONTENT_TYPE,
        "receipt": f"p{number:02}",
    }
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return masked_text(b"SEND\n%b\n%b\0" % (lines.encode(), BODY))


@dataclass(frozen=True)
class ConnectRun:
    """What one run measured.

    Attributes:
        rate: Clients a second, from nothing to the receipt of their subscription.
        cpu: Microseconds of the CPU time of server and broker for one of them.
        cores: The cores used by ``server``, ``broker``, ``load`` and ``others``.
    """

    rate: float
    cpu: float
    cores: dict[str, float]


def run_connects(subject: Stomp, broker: Broker, count: int) -> ConnectRun:
    """Connect ``count`` clients, `AT_ONCE` of them at once, all subscribed to the same.

    Raises:
        RuntimeError: One was refused, or does not hear of what is published.
    """
    processes = (subject.process, broker.process)
    message = publish_frames(subject.exchange, "bench", BODY, CONTENT_TYPE)
    with closing(Source(broker.url, subject.exchange, message)) as source:
        quiet(*processes)
        with closing(Newcomers(subject)) as clients:
            meter = Meter(*processes)
            clients.connect(count)
            usage = meter.usage()
            source.publish()
            clients.expect(BODY)
    quiet(*processes)
    both = usage.broker + (0 if subject.process == broker.process else usage.server)
    return ConnectRun(count / usage.elapsed, both / count * 1e6, usage.cores())


class Newcomers:
    """Clients that become subscribers, some at once, and stay.

    Args:
        subject: What they connect to.
    """

    def __init__(self, subject: Stomp) -> None:
        self._address = subject.address
        subscribe = f"SUBSCRIBE\nid:0\nreceipt:r\ndestination:{subject.destination}\n\n\0"
        #: What a client sends, how the answer goes on, and how it ends.
        self._steps = (
            (self._upgrade(), b"HTTP/1.1 101", b"\r\n\r\n"),
            (masked_text(STOMP_LOGIN.encode()), b"CONNECTED\n", b"\n\n\0"),
            (masked_text(subscribe.encode()), b"RECEIPT\n", b"\n\n\0"),
        )
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        #: Descriptor -> its step, and what it has received of the answer.
        self._states: dict[int, tuple[int, bytes]] = {}

    def _upgrade(self) -> bytes:
        address = self._address
        lines = [
            f"GET {address.path} HTTP/1.1",
            f"Host: {address.host}:{address.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {STOMP_DIALECT}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def connect(self, count: int) -> None:
        """Connect so many; returns when each has its receipt.

        Raises:
            RuntimeError: One was refused, or it takes too long.
        """
        deadline = time.monotonic() + _DEADLINE
        while len(self._sockets) < count or self._states:
            while len(self._states) < AT_ONCE and len(self._sockets) < count:
                self._begin()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(self._states)} clients wait for an answer")
            for descriptor, _ in self._epoll.poll(0.1):
                self._received(descriptor)

    def _begin(self) -> None:
        address = self._address
        connection = socket.create_connection((address.host, address.port), 20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        descriptor = connection.fileno()
        self._sockets[descriptor] = connection
        self._states[descriptor] = (0, b"")
        self._epoll.register(descriptor, select.EPOLLIN)
        connection.sendall(self._steps[0][0])

    def _received(self, descriptor: int) -> None:
        """Some of an answer; the next step when it is all there."""
        step, before = self._states[descriptor]
        _, begin, end = self._steps[step]
        more = self._sockets[descriptor].recv(65536)
        data = before + more
        if not more or (end in data and begin not in data):
            raise RuntimeError(f"The server answered {data!r}")
        if end not in data:
            self._states[descriptor] = (step, data)
        elif step + 1 < len(self._steps):
            self._states[descriptor] = (step + 1, b"")
            self._sockets[descriptor].sendall(self._steps[step + 1][0])
        else:
            del self._states[descriptor]
            self._epoll.unregister(descriptor)

    def expect(self, body: bytes) -> None:
        """Wait until each has received a message with this body.

        Raises:
            TimeoutError: One has not.
        """
        for connection in self._sockets.values():
            data = b""
            while body not in data:
                more = connection.recv(65536)
                if not more:
                    raise RuntimeError("The server closed the connection")
                data += more

    def close(self) -> None:
        """Close every socket, without a closing handshake."""
        self._epoll.close()
        for connection in self._sockets.values():
            connection.close()


def quiet(*processes: Watched) -> None:
    """Wait until they have nothing left to do of the clients that are gone; at most 20 seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        before = sum(process.cpu() for process in processes)
        time.sleep(0.4)
        if sum(process.cpu() for process in processes) - before < _QUIET:
            return
