"""The client of programs: see ``twbridge.client``."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from itertools import count
from types import TracebackType
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from twbridge.client import frames
from twbridge.client.addresses import parse_address
from twbridge.client.core import Core
from twbridge.client.errors import NotConnected
from twbridge.client.inbox import Pump
from twbridge.client.iteration import Messages
from twbridge.client.messages import Message
from twbridge.client.ports import Hooks, Limits, State
from twbridge.client.shell import Token, WebSocketConnector
from twbridge.client.subscription import (
    Ack,
    Gap,
    Options,
    Overflow,
    Subscription,
    SubscriptionHooks,
)
from twbridge.destinations import parse
from twbridge.errors import BadFrame, SettingsError, TwbridgeError

__all__ = ["Client", "connect"]

_QUEUES = ("queue", "amq-queue")
#: Characters of an id that the bridge takes.
_LONGEST_ID = 255


class Client:
    """One client of a bridge, over all its connections.

    It connects with the first thing that is asked of it, and from then on comes back whenever
    the connection is lost, until it is closed or told to stay away (close codes 4500 to 4999).

    Args:
        reactor: Twisted's.
        url: ``ws://``, ``wss://`` or ``ws+unix:///path/of/socket:/ws``.
        token: who you are, or a function that says so before each attempt; it may give an
            awaitable. A bridge that has no users ignores it.
        client: the UUID by which the bridge knows a publish that it has had already; a new one
            if None.
        tls: how to verify a ``wss`` bridge; by default the system's authorities vouch for the
            host of the URL. See ``twisted.internet.ssl.optionsForClientTLS``.
        compress: offer permessage-deflate; the bridge decides.
        limits: sizes and times.
        on_state: told each new state.
        on_away: told why an attempt failed or the connection is lost, and when the next is.
        on_link: told when the bridge loses its broker (False), and has it again (True).
        on_error: told of refusals that answer nothing: an ack of a message that was requeued.

    Raises:
        SettingsError: the URL, the UUID or the host is not usable.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        *,
        token: Token | None = None,
        client: str | uuid.UUID | None = None,
        tls: IOpenSSLClientConnectionCreator | None = None,
        compress: bool = False,
        limits: Limits | None = None,
        on_state: Callable[[State], object] | None = None,
        on_away: Callable[[NotConnected], object] | None = None,
        on_link: Callable[[bool], object] | None = None,
        on_error: Callable[[TwbridgeError], object] | None = None,
    ) -> None:
        limits = limits or Limits()
        self.address = parse_address(url)
        self.id = _uuid(client)
        connector = WebSocketConnector(
            reactor, self.address, self.id, token=token, tls=tls, compress=compress, limits=limits
        )
        source = random.SystemRandom()
        hooks = Hooks(on_state, on_away, on_link, on_error)
        self._core = Core(reactor, connector, source.uniform, hooks, limits)
        # An id must not be that of an earlier process with the same UUID.
        self._prefix = f"{source.getrandbits(48):012x}"
        self._numbers = count(1)

    def __repr__(self) -> str:
        return f"<Client {self.address} {self.state}>"

    @property
    def state(self) -> State:
        """Where it is."""
        return self._core.state

    @property
    def link_up(self) -> bool:
        """The bridge has its broker, as far as it has said."""
        return self._core.link_up

    @property
    def unconfirmed(self) -> int:
        """Publishes that have no answer yet."""
        return len(self._core.publishes)

    def connect(self) -> Deferred[None]:
        """Connect; fires when there is a connection, however many attempts it takes.

        Fails with NotConnected when the bridge says to stay away, with NotReady when the client
        is closed.
        """
        self._core.start()
        return self._core.opened()

    def close(self) -> Deferred[None]:
        """Close the connection for good; fires when it is gone. Never fails.

        Publishes without an answer fail: wait for those that matter first.
        """
        return self._core.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def publish(
        self,
        destination: str,
        body: Any,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        mandatory: bool | None = None,
        timeout: float | None = None,
        id: str | None = None,
    ) -> Deferred[None]:
        """Publish; fires when the broker has confirmed the message.

        While there is no connection it waits for one, and what has no answer is sent again on
        the next one: the bridge applies it once. It is safe to do so by hand too: publish with
        the same `id`, after a timeout for example.

        Args:
            destination: ``/topic/...``, ``/exchange/...``, ``/queue/...``, ``/stream/...``.
            body: bytes and str are sent as they are, anything else as JSON.
            headers: AMQP's.
            properties: ``content_type``, ``message_id``, ``expiration`` and so on.
            mandatory: whether it fails when no queue takes it; the destination decides if None.
            timeout: seconds; for ever if None.
            id: at most 255 characters.

        Fails with the error of ``twbridge.errors`` that has the bridge's code: Unroutable, Nacked,
        Forbidden, NotReady (nothing was published), OutcomeUnknown and ConfirmTimeout (it may
        have been), TooMany (too many wait already).
        """
        identity = f"{self._prefix}-{next(self._numbers)}" if id is None else id
        try:
            parse(destination)
            if not 0 < len(identity) <= _LONGEST_ID:
                raise BadFrame(f"An id has 1 to {_LONGEST_ID} characters.")
            frame = frames.publish(identity, destination, body, headers, properties, mandatory)
            self._core.usable()
            self._core.start()
            return self._core.publishes.add(identity, frame, timeout)
        except TwbridgeError as error:
            return fail(error)

    def call(
        self,
        task: str,
        body: Any = None,
        *,
        timeout: float = 30.0,
        on_progress: Callable[[Any], object] | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Deferred[Any]:
        """Call a task, which a worker runs; fires with what it returned: JSON, str or bytes.

        Cancelling the Deferred cancels the call, at its worker too.

        Args:
            task: its name.
            body: bytes and str are sent as they are, anything else as JSON.
            timeout: seconds that it has, an hour at most. The bridge keeps the time from when it
                has the call; while there is no connection a call waits for as long.
            on_progress: called with what the task sends on its way, in order.
            headers: reach the task.

        Fails with the error of ``twbridge.errors`` that has the bridge's code: UnknownTask,
        TaskError, ExpirationError (no worker took it in time), CallTimeout, CallCancelled, CallLost
        (the connection was lost: it may have run, and is not called again), NotReady (it was not
        sent), Forbidden, TooMany, TooLarge.
        """
        try:
            self._core.usable()
            calls = self._core.calls
            called = calls.add(task, body, headers, timeout, on_progress)
            self._core.start()
            return called
        except TwbridgeError as error:
            return fail(error)

    def subscribe(
        self,
        destination: str,
        on_message: Callable[[Message], object],
        *,
        ack: Ack | None = None,
        prefetch: int | None = None,
        start: str | None = None,
        overflow: Overflow | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        on_dropped: Callable[[int], object] | None = None,
        on_ended: Callable[[TwbridgeError | None], object] | None = None,
    ) -> Deferred[Subscription]:
        """Subscribe; fires with the subscription when the broker has it.

        It outlives connections. A stream goes on after the last message that came.

        Args:
            destination: one subscription to each at a time.
            on_message: called with one message at a time: the next comes when it has returned,
                and what it returned, if that is awaitable, is done. What it raises is logged.
            ack: ``"client"``: the broker keeps each message until `on_message` is done with it,
                or its ``ack()`` or ``nack()``. ``"manual"``: until these, and `on_message` is
                not waited for: `prefetch` messages are in work at a time.
            prefetch: messages without an answer at a time, or read ahead of a stream.
            start: of a stream: ``first``, ``last``, ``next``, ``offset=N``, ``timestamp=SECONDS``.
            overflow: what becomes of messages when this client reads too slowly.
            on_gap: told where messages are missing, or may be.
            on_dropped: told how many messages the overflow policy has dropped.
            on_ended: told why it has ended; None where you wanted it.

        Fails with the error of ``twbridge.errors`` that has the bridge's code.
        """
        options = Options(ack, prefetch, start, overflow)
        hooks = SubscriptionHooks(on_gap, on_dropped, on_ended)
        table = self._core.subscriptions
        try:
            pump = Pump(table, self._core.tell, destination, options, hooks, on_message)
            self._core.usable()
            self._core.start()
            return table.add(pump.subscription)
        except TwbridgeError as error:
            return fail(error)

    def messages(
        self,
        destination: str,
        *,
        ack: Ack | None = None,
        prefetch: int | None = None,
        start: str | None = None,
        overflow: Overflow | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        on_dropped: Callable[[int], object] | None = None,
        on_ended: Callable[[TwbridgeError | None], object] | None = None,
    ) -> Messages:
        """The messages of a destination, for ``async for``; see `Messages`.

        Args:
            destination: as in `subscribe`, like all that is not named here.
            ack: ``"client"`` for queues if None: the loop acknowledges each message when it asks
                for the next. ``"manual"``: it does not.

        Raises:
            BadDestination: it is outside the grammar.
        """
        if ack is None and parse(destination).kind in _QUEUES:
            ack = "client"
        options = Options(ack, prefetch, start, overflow)
        hooks = SubscriptionHooks(on_gap, on_dropped, on_ended)
        return Messages(self._core, destination, options, hooks)


def connect(reactor: Any, url: str, **options: Any) -> Deferred[Client]:
    """A client, when it has its first connection; the options are those of `Client`."""
    client = Client(reactor, url, **options)
    return client.connect().addCallback(lambda _: client)


def _uuid(client: str | uuid.UUID | None) -> str:
    try:
        return str(uuid.uuid4() if client is None else uuid.UUID(str(client)))
    except ValueError:
        raise SettingsError(f"{client!r} is not a UUID.") from None
