"""The embedded broker as one object that listens (Twisted)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from twbridge.broker.limits import Limits
from twbridge.broker.messages import Memory
from twbridge.broker.protocol import BrokerProtocol
from twbridge.broker.vhost import VirtualHost
from twbridge.errors import SettingsError

__all__ = ["DEFAULT_PORT", "EmbeddedBroker"]

_log = Logger()

DEFAULT_PORT = 5672
MEMORY_LIMIT = 256 * 1024 * 1024


class EmbeddedBroker:
    """An AMQP 0-9-1 broker in this process, for one machine: it keeps nothing.

    Its only virtual host is ``/``. Without a socket it is used through ``factory``.

    Args:
        reactor: times heartbeats, deadlines and the age of messages; to listen it must be an
            IReactorTCP as well.
        limits: what clients are held to.
        users: passwords by user name; guest with the password guest by default.
        memory_limit: bytes of messages past which publishers are blocked (connection.blocked) and
            not read; 0: none. Streams keep theirs until retention drops them.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        limits: Limits | None = None,
        users: Mapping[str, str] | None = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self.limits = limits or Limits()
        self.users = dict(users) if users is not None else {"guest": "guest"}
        self.memory = Memory(memory_limit, self._alarm)
        self.vhost = VirtualHost(reactor, self.memory)
        self.factory = _Factory(self)
        self.clients: set[BrokerProtocol] = set()
        self.port: int | None = None
        self.host = ""
        self.reactor = reactor
        self._listener: IListeningPort | None = None
        self._all_gone: Deferred[None] | None = None

    @property
    def url(self) -> str:
        """Where clients connect, with the user and password; only after :meth:`listen`."""
        name, password = next(iter(self.users.items()))
        return f"amqp://{quote(name, '')}:{quote(password, '')}@{self._address}/%2F"

    @property
    def _address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def listen(self, host: str = "127.0.0.1", port: int | None = None) -> Deferred[int]:
        """Begin to listen, on loopback only.

        Args:
            port: None takes 5672 where it is free, and any free port otherwise; 0: any free one.

        Returns:
            The port. Fails with CannotListenError where ``port`` was given and is taken.

        Raises:
            SettingsError: the host is not a loopback address.
        """
        _check_loopback(host)
        return Deferred.fromCoroutine(self._listen(host, port))

    async def _listen(self, host: str, port: int | None) -> int:
        first = DEFAULT_PORT if port is None else port
        try:
            listener = await self._endpoint(host, first)
        except CannotListenError:
            if port is not None:
                raise
            listener = await self._endpoint(host, 0)
        self._listener = listener
        self.host = host
        self.port = cast(IPv4Address, listener.getHost()).port
        _log.info(
            "embedded broker on amqp://{address}: for this machine only, it keeps nothing",
            address=self._address,
        )
        return self.port

    def _endpoint(self, host: str, port: int) -> Deferred[IListeningPort]:
        kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
        endpoint: IStreamServerEndpoint = kind(self.reactor, port, interface=host)
        return endpoint.listen(self.factory)

    def close_connections(self, reason: str) -> None:
        """Close every client's connection with 320, as RabbitMQ's operators can."""
        for client in list(self.clients):
            client.connection.force_close(reason)

    def stop(self) -> Deferred[None]:
        """Stop listening, close all connections and wait for their ends (5 s at most)."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        listener, self._listener = self._listener, None
        waits: list[Deferred[Any]] = []
        if listener is not None:
            waits.append(maybeDeferred(listener.stopListening))
        self.close_connections("shutdown")
        if self.clients:
            self._all_gone = Deferred()
            waits.append(self._all_gone)
        await gatherResults(waits)
        self.vhost.stop()

    def _lost(self, client: BrokerProtocol) -> None:
        self.clients.discard(client)
        if not self.clients and self._all_gone is not None:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    def _alarm(self, on: bool) -> None:
        if on:
            _log.warn(
                "embedded broker: its messages are over {limit} bytes, publishers are blocked",
                limit=self.memory.limit,
            )
            return
        for client in list(self.clients):
            client.connection.unblock()


class _Factory(ServerFactory):
    """Makes a protocol for each client."""

    noisy = False

    def logPrefix(self) -> str:
        """How Twisted's own lines in the log name it."""
        return "embedded broker"

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    def buildProtocol(self, addr: IAddress | None) -> BrokerProtocol:
        broker = self._broker
        protocol = BrokerProtocol(
            broker.reactor, broker.vhost, broker.limits, broker.users, broker._lost
        )
        protocol.factory = self
        broker.clients.add(protocol)
        return protocol


def _check_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingsError(
            f"embedded.listen: {host!r} is not a loopback address; the embedded broker serves "
            "this machine only"
        )
