"""What the fan-out is measured on: how to become a subscriber there, how its frames are counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.servers import Bridge, Broker, Watched
from benchmarks.sockets import JSON_DIALECT, Address, Client, Herd, MarkerHerd, connect_many

STOMP_DIALECT = "v12.stomp"
STOMP_LOGIN = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\0"


class Subject(Protocol):
    """A server that fans messages of an exchange out to WebSocket clients.

    Attributes:
        name: For the tables.
        exchange: Messages published here reach every client.
        process: What is charged for the work.
    """

    @property
    def name(self) -> str: ...
    @property
    def exchange(self) -> str: ...
    @property
    def process(self) -> Watched: ...

    def connect(self, count: int) -> list[Client]:
        """Connect clients that are subscribed to all of the exchange, or will be in a moment."""

    def body(self, payload: bytes) -> bytes:
        """The message's body in the payload of a frame."""

    def herd(self, clients: Sequence[Client], frame: int) -> tuple[Herd, int]:
        """How to count: the herd of these clients, and what one frame of ``frame`` bytes adds."""


@dataclass(frozen=True)
class RawRoute:
    """The raw dialect of a bridge: every frame is a body."""

    bridge: Bridge

    @property
    def name(self) -> str:
        """The bridge's name."""
        return self.bridge.name

    @property
    def exchange(self) -> str:
        """The bridge's exchange."""
        return self.bridge.exchange

    @property
    def process(self) -> Watched:
        """The bridge's process."""
        return self.bridge.process

    def connect(self, count: int) -> list[Client]:
        """Connect; the path subscribes."""
        return list(connect_many(self.bridge.address, count))

    def body(self, payload: bytes) -> bytes:
        """The payload is the body."""
        return payload

    def herd(self, clients: Sequence[Client], frame: int) -> tuple[Herd, int]:
        """All frames have one length."""
        return Herd(clients), frame


@dataclass(frozen=True)
class JsonDialect(RawRoute):
    """The JSON dialect of a bridge, each client subscribed to the exchange.

    Attributes:
        deflate: The clients have messages compressed.
        label: For the tables, in place of the bridge's name.
        key: Of the subscription.
    """

    deflate: bool = False
    label: str = ""
    key: str = "#"

    @property
    def name(self) -> str:
        """The label, or the bridge's name."""
        return self.label or self.bridge.name

    def connect(self, count: int) -> list[Client]:
        """Connect and subscribe, the requests of all clients at once."""
        clients = list(connect_many(self.bridge.address, count, JSON_DIALECT, deflate=self.deflate))
        destination = f"/exchange/{self.exchange}/{self.key}"
        ask(clients, {"op": "subscribe", "destination": destination})
        return clients

    def body(self, payload: bytes) -> bytes:
        """The message's body, written the way the benchmark's message is."""
        return json.dumps(json.loads(payload)["body"], separators=(",", ":")).encode()


def ask(clients: Sequence[Client], *requests: dict[str, object]) -> None:
    """Send each of new JSON clients its subscription; they are greeted, and it is in force.

    Args:
        clients: They have received nothing yet.
        requests: The one for all of them, or one for each.
    """
    every = requests if len(requests) == len(clients) else requests * len(clients)
    for client, request in zip(clients, every, strict=True):
        _expect(client, "welcome")
        client.send_text(json.dumps({"id": "s"} | request))
    for client in clients:
        _expect(client, "subscribed")


def _expect(client: Client, op: str) -> None:
    event = json.loads(client.read_frame())
    if event["op"] != op:
        raise RuntimeError(f"Expected {op}, received {event}")


@dataclass(frozen=True)
class Stomp:
    """A server that speaks STOMP over WebSocket: one client for all, the address differs.

    Attributes:
        name: For the tables.
        exchange: Messages published here reach every client.
        process: What is charged for the work.
        address: Where it listens.
    """

    name: str
    exchange: str
    process: Watched
    address: Address

    def connect(self, count: int) -> list[Client]:
        """Connect, log in and subscribe; the receipts come when the bindings exist."""
        clients = list(connect_many(self.address, count, STOMP_DIALECT))
        stomp(clients, f"destination:{self.destination}")
        return clients

    @property
    def destination(self) -> str:
        """What clients subscribe to."""
        return f"/exchange/{self.exchange}/#"

    def body(self, payload: bytes) -> bytes:
        """What follows the empty line, without the final NUL."""
        return payload.partition(b"\n\n")[2].rstrip(b"\0\n")

    def herd(self, clients: Sequence[Client], frame: int) -> tuple[Herd, int]:
        """Message ids grow, so frames are counted by the word that begins them."""
        return MarkerHerd(clients, b"MESSAGE\n"), 1


def web_stomp(broker: Broker) -> Stomp:
    """RabbitMQ's plugin: a queue of its own for every client, in the broker, which does it all."""
    return Stomp("RabbitMQ Web STOMP", "bench.stomp", broker.process, broker.web_stomp)


def bridge_stomp(bridge: Bridge) -> Stomp:
    """STOMP of a bridge."""
    return Stomp(bridge.name, bridge.exchange, bridge.process, bridge.address)


def stomp(clients: Sequence[Client], *headers: str) -> None:
    """Log new STOMP clients in and subscribe each.

    Args:
        clients: They have received nothing yet.
        headers: Of SUBSCRIBE, with the destination: the ones for all, or those for each.
    """
    every = headers if len(headers) == len(clients) else headers * len(clients)
    subscribe = [f"SUBSCRIBE\nid:0\nreceipt:r\n{each}\n\n\0" for each in every]
    for requests, answer in (([STOMP_LOGIN] * len(clients), b"CONNECTED"), (subscribe, b"RECEIPT")):
        for client, request in zip(clients, requests, strict=True):
            client.send_text(request)
        for client in clients:
            frame = client.read_frame()
            if not frame.startswith(answer):
                raise RuntimeError(f"The server answered {frame!r}")
