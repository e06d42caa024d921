"""One measurement of one AMQP client, in a process of its own.

``python -m benchmarks.codec_child CLIENT WHAT --url URL --messages N`` prints the microseconds of
CPU time (user and system, of this process) that one message cost. WHAT is one of:

``deliver-memory``  a delivery that was received from the broker once is fed to the protocol again
                    and again, in pieces as large as a socket's read; no system call is counted
``deliver``         a queue full of messages is consumed from the broker
``publish-memory``  messages are published into the void; the broker's acks are fed back to those
                    that wait for them, one for every 50 messages
``publish``         messages are published to the broker, 500 under way at once
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

from pamqp import commands, frame
from twisted.internet import task
from twisted.internet.defer import Deferred

from benchmarks.codec_clients import CLIENTS, CONTENT_TYPE, CodecClient
from benchmarks.fanout import BODY
from benchmarks.source import call, login, publish_frames

PIECE = 65536
"""Bytes that Twisted reads from a socket at once."""
BATCH = 500
ACK_EVERY = 50
_WARM_UP = 2000


class Tap:
    """Stands between the reactor's connections and their protocols, and listens."""

    def __init__(self, reactor: Any) -> None:
        self.received: dict[Any, bytes] = {}
        self.written: dict[Any, bytes] = {}
        self.restore: list[Callable[[], None]] = []
        for transport in set(reactor.getReaders()):
            if hasattr(transport, "protocol"):
                self._listen(transport)

    def _listen(self, transport: Any) -> None:
        protocol, write = transport.protocol, transport.write
        receive = protocol.dataReceived

        def received(data: bytes) -> None:
            self.received[transport] = self.received.get(transport, b"") + data
            receive(data)

        def written(data: bytes) -> None:
            self.written[transport] = self.written.get(transport, b"") + data
            write(data)

        protocol.dataReceived, transport.write = received, written
        self.restore.append(lambda: setattr(protocol, "dataReceived", receive))
        self.restore.append(lambda: setattr(transport, "write", write))

    def close(self) -> None:
        """Let the connections alone again."""
        for restore in self.restore:
            restore()


async def deliver_memory(reactor: Any, client: CodecClient, url: str, messages: int) -> float:
    """Feed one delivery of the broker to the protocol many times."""
    count = 0

    def delivered(_: object) -> None:
        nonlocal count
        count += 1

    with closing(login(url)) as control:
        queue = _full_queue(control, 0)
        await client.consume(queue, delivered)
        tap = Tap(reactor)
        control.sendall(publish_frames("", queue, BODY, CONTENT_TYPE))
        await _until(reactor, lambda: count == 1)
        tap.close()
    (transport,) = (t for t, data in tap.received.items() if BODY in data)
    delivery = _frames_with_body(tap.received[transport])
    receive = transport.protocol.dataReceived
    stream = delivery * (_WARM_UP + messages)
    pieces = [stream[at : at + PIECE] for at in range(0, len(stream), PIECE)]
    warm = _WARM_UP * len(delivery) // PIECE
    for piece in pieces[:warm]:
        receive(piece)
    already, start = count, time.process_time()
    for piece in pieces[warm:]:
        receive(piece)
    spent = time.process_time() - start
    if count != _WARM_UP + messages + 1:
        raise RuntimeError(f"{count} deliveries instead of {_WARM_UP + messages + 1}")
    return spent / (count - already)


async def deliver(reactor: Any, client: CodecClient, url: str, messages: int) -> float:
    """Consume a full queue."""
    count, start, spent = 0, 0.0, 0.0

    def delivered(_: object) -> None:
        nonlocal count, start, spent
        count += 1
        if count == _WARM_UP:
            start = time.process_time()
        elif count == _WARM_UP + messages:
            spent = time.process_time() - start

    with closing(login(url)) as control:
        queue = _full_queue(control, _WARM_UP + messages)
        await client.consume(queue, delivered)
        await _until(reactor, lambda: count == _WARM_UP + messages)
    return spent / messages


async def publish_memory(
    reactor: Any,
    client: CodecClient,
    url: str,
    messages: int,
) -> float:
    """Publish into the void, with acks from us."""
    tap = Tap(reactor)
    await client.publish(BODY)
    tap.close()
    (transport,) = (t for t, data in tap.written.items() if BODY in data)
    channel = _publish_channel(tap.written[transport])
    receive = transport.protocol.dataReceived
    answers: list[Deferred[None]] = []
    transport.write = transport.writeSequence = lambda _: None
    tag = 1
    batches = messages // BATCH
    for batch in range(batches + _WARM_UP // BATCH):
        if batch == _WARM_UP // BATCH:
            start = time.process_time()
        answers = [client.publish(BODY) for _ in range(BATCH)]
        while tag < 1 + (batch + 1) * BATCH:
            tag += ACK_EVERY
            if client.confirms:
                receive(frame.marshal(commands.Basic.Ack(tag, multiple=True), channel))
        if not all(answer.called for answer in answers):
            raise RuntimeError("Not every publish was answered")
    return (time.process_time() - start) / (batches * BATCH)


async def publish(
    reactor: Any,
    client: CodecClient,
    url: str,
    messages: int,
) -> float:
    """Publish to the broker and wait for what the client promises."""
    start = 0.0
    for batch in range(messages // BATCH + _WARM_UP // BATCH):
        if batch == _WARM_UP // BATCH:
            await client.flush()
            start = time.process_time()
        answers = [client.publish(BODY) for _ in range(BATCH)]
        # A DeferredList would cost as much as some of the clients; acks come in order.
        await answers[-1]
        if not all(answer.called for answer in answers):
            raise RuntimeError("Not every publish was answered")
        await task.deferLater(reactor, 0)
    await client.flush()
    return (time.process_time() - start) / (messages // BATCH * BATCH)


def _full_queue(control: Any, messages: int) -> str:
    """A queue with some messages in it, for as long as the connection or its consumer lives."""
    declared = call(control, commands.Queue.Declare(queue="", auto_delete=True))
    queue = str(getattr(declared, "queue", ""))
    burst = publish_frames("", queue, BODY, CONTENT_TYPE) * 100
    for _ in range(-(-messages // 100)):
        control.sendall(burst)
    # An answer on the same channel follows everything that was sent before it.
    call(control, commands.Queue.Declare(queue=queue, passive=True))
    return queue


def _frames_with_body(data: bytes) -> bytes:
    """The three frames of the delivery in what a connection has received."""
    frames = []
    while data:
        size, _, _ = frame.unmarshal(data)
        frames.append(data[:size])
        data = data[size:]
    (last,) = (index for index, one in enumerate(frames) if BODY in one)
    return b"".join(frames[last - 2 : last + 1])


def _publish_channel(data: bytes) -> int:
    """The channel of the basic.publish in what a connection has written."""
    while True:
        size, channel, value = frame.unmarshal(data)
        if isinstance(value, commands.Basic.Publish):
            return channel
        data = data[size:]


async def _until(reactor: Any, condition: Callable[[], bool]) -> None:
    while not condition():
        await task.deferLater(reactor, 0.01)


MEASUREMENTS: dict[str, Callable[[Any, CodecClient, str, int], Awaitable[float]]] = {
    "deliver-memory": deliver_memory,
    "deliver": deliver,
    "publish-memory": publish_memory,
    "publish": publish,
}


def main() -> None:
    """Measure once and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--messages", type=int, default=30000)
    arguments = parser.parse_args()

    async def run(reactor: Any) -> None:
        client = CLIENTS[arguments.client]()
        await client.connect(reactor, arguments.url)
        measure = MEASUREMENTS[arguments.what]
        print(await measure(reactor, client, arguments.url, arguments.messages) * 1e6)

    task.react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
