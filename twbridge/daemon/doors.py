"""The listening sockets of an instance, and all their connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from twbridge.daemon import listeners
from twbridge.destinations import Destination, parse
from twbridge.dialects.interfaces import IDialect
from twbridge.errors import SettingsError
from twbridge.ports import Services
from twbridge.session import Session
from twbridge.settings import Listen, Settings
from twbridge.sockets.admission import Admission
from twbridge.sockets.census import Census
from twbridge.sockets.front import Front, FrontFactory, FrontLimits
from twbridge.sockets.heads import Head
from twbridge.sockets.origins import Client, Listener
from twbridge.web import call, events, poll, publish
from twbridge.web.call import TaskCalls
from twbridge.web.events import EventStreams
from twbridge.web.mounts import Gateway, Mounts
from twbridge.web.poll import PollCalls
from twbridge.web.publish import PublishCalls
from twbridge.web.requests import Requests
from twbridge.web.site import WebSite
from twbridge.ws import BridgeFactory, SocketOptions
from twbridge.wsgi.ports import Mount

_log = Logger()


class Doors:
    """Opens the listeners of the settings and closes them.

    Args:
        reactor: the clock, and what endpoints need.
        settings: the effective ones.
        services: what sessions share.
        gateway: takes requests to WSGI workers.
        dialects: what is spoken.
        readiness: ready or not, and why.
        connections: sockets in all.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        services: Services,
        gateway: Gateway,
        dialects: Iterable[IDialect],
        readiness: Callable[[], tuple[bool, str]],
        connections: int,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._services = services
        self._gateway = gateway
        self._dialects = tuple(dialects)
        self._readiness = readiness
        self._routes = {route.path: route for route in settings.route}
        self._census = Census(connections, settings.limits.connections_per_address)
        self._ports: list[IListeningPort] = []
        # Those that hear of the link, and all that have clients.
        self._sessions: list[BridgeFactory | EventStreams | PollCalls] = []
        self._sides: list[BridgeFactory | EventStreams | Requests | FrontFactory] = []

    @property
    def ports(self) -> tuple[IListeningPort, ...]:
        """Those that listen, in the order of the settings."""
        return tuple(self._ports)

    async def open(self) -> None:
        """Listen on all. No connection is taken before the reactor runs.

        Raises:
            SettingsError: on one of them nobody can listen; the text names it.
        """
        for index, listen in enumerate(self._settings.listen):
            door = _Door()
            try:
                endpoint = listeners.parse(self._reactor, listen.endpoint)
                port = await endpoint.listen(door)
            except SettingsError as error:
                raise SettingsError(f"listen[{index}].endpoint: {error}") from None
            except (CannotListenError, OSError, OverflowError) as error:
                raise SettingsError(
                    f"listen[{index}].endpoint: can't listen on {listen.endpoint}: "
                    f"{listeners.reason(error)}"
                ) from None
            local = listeners.is_loopback(port)
            door.front = self._front(listen, port.getHost(), local)
            self._ports.append(port)
            self._tell(listeners.shown(port), local)

    def _tell(self, where: str, is_local: bool) -> None:
        """Log what there is."""
        _log.info("Clients connect to {where}", where=where)
        if self._settings.mount:
            paths = ", ".join(mount.path for mount in self._settings.mount)
            _log.info("WSGI workers answer on {where} at {paths}", where=where, paths=paths)
        if self._settings.allow:
            return
        if is_local:
            _log.info(
                "There are no [[allow]] rules: everything is allowed on {where}, "
                "to clients that call it localhost",
                where=where,
            )
        else:
            _log.warn("There are no [[allow]] rules: nothing is allowed on {where}", where=where)

    def link_changed(self, state: str) -> None:
        """Tell every session of the link's new state."""
        for side in self._sessions:
            side.link_changed(state)

    def stop_listening(self) -> Deferred[Any]:
        """Take no more connections."""
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])

    def close(self) -> Deferred[Any]:
        """Send every client away (1001), and let requests end; fires when they are gone."""
        return gatherResults([side.close_all() for side in self._sides])

    def _front(self, listen: Listen, address: IAddress, is_local: bool) -> FrontFactory:
        limits, clock = self._settings.limits, self._reactor
        listener = Listener(listen.origins, listen.proxies, loopback=is_local)
        admission = Admission(listener, clock)
        open_session = partial(Session, self._services)
        options = self._options()
        sockets = BridgeFactory(
            open_session,
            dialects=self._dialects,
            routes=self._routes,
            clock=clock,
            listener=listener,
            options=options,
        )
        streams = EventStreams(open_session, admission=admission, clock=clock, options=options)
        asking = {"admission": admission, "clock": clock, "limit": limits.message}
        publishes = PublishCalls(open_session, **asking)
        calls = TaskCalls(open_session, **asking)
        polls = PollCalls(open_session, admission=admission, clock=clock)
        self._sessions += [sockets, streams, polls]
        self._sides += [sockets, streams, publishes, calls, polls]
        has_api = self._settings.http.api
        site = WebSite(
            self._readiness,
            chat=self._settings.route[0] if self._settings.has_page else None,
            stream=chat_stream(self._settings),
            websocket_paths=self._routes,
            clock=clock,
        )
        front = FrontFactory(
            sockets,
            site,
            streams={events.PATH: streams} if has_api else {},
            calls={publish.PATH: publishes, call.PATH: calls, poll.PATH: polls} if has_api else {},
            relays=self._mounts(site, address, is_local).find,
            clock=clock,
            listener=listener,
            limits=FrontLimits(
                handshake_bytes=limits.handshake_bytes, handshake_seconds=limits.handshake_seconds
            ),
            census=self._census,
        )
        self._sides.append(front)
        return front

    def _mounts(self, site: WebSite, address: IAddress, is_local: bool) -> Mounts:
        settings = self._settings
        is_open = is_local and not settings.allow and not settings.mount
        return Mounts(
            self._gateway,
            [Mount(each.path, each.body, each.timeout) for each in settings.mount],
            _Trial(is_open).may,
            site.knows,
            (getattr(address, "host", "localhost"), getattr(address, "port", 80)),
        )

    def _options(self) -> SocketOptions:
        limits, websocket = self._settings.limits, self._settings.websocket
        return SocketOptions(
            frame=limits.frame,
            message=limits.message,
            fragments=limits.fragments,
            send_buffer=limits.send_buffer,
            ping_interval=websocket.ping_interval,
            ping_timeout=websocket.ping_timeout,
            deflate=websocket.deflate,
        )


class _Trial:
    """Who may use mounts that nobody has named.

    Args:
        is_open: whether anybody may.
    """

    def __init__(self, is_open: bool) -> None:
        self._is_open = is_open
        self._told = False

    def may(self, head: Head, client: Client) -> bool:
        """Clients of this machine that call it so; the first other one is logged."""
        if self._is_open and not client.local and not self._told:
            self._told = True
            mount, _, _ = head.path[1:].partition("/")  # the rest may be anything, and long
            _log.info(
                "No [[mount]] names /{mount}: so workers answer there only clients that call this "
                "machine localhost and come through no proxy",
                mount=mount,
            )
        return self._is_open and client.local


def chat_stream(settings: Settings) -> str:
    """The destination of the stream that keeps what the chat page shows; empty: there is none."""
    chat = parse(settings.route[0].subscribe)
    for stream in settings.stream:
        if chat.live and any(_is_same(chat, parse(text)) for text in stream.bindings):
            return str(Destination("stream", stream.name))
    return ""


def _is_same(one: Destination, other: Destination) -> bool:
    """Whether both are the same binding, ``/topic/a`` and ``/exchange/amq.topic/a`` for example."""
    return (one.exchange, one.key) == (other.exchange, other.key)


@implementer(IProtocolNegotiationFactory)
class _Door(Factory):
    """Listens before it is known where: only a port that listens tells if it is local."""

    noisy = False
    front: FrontFactory | None = None

    def logPrefix(self) -> str:
        """How Twisted's own lines in the log name it."""
        return "twbridge"

    def acceptableProtocols(self) -> list[bytes]:
        """Every browser offers a list over TLS (ALPN, RFC 7301) and gives up without an answer."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Front | None:
        return self.front.buildProtocol(addr) if self.front is not None else None

    def stopFactory(self) -> None:
        if self.front is not None:
            self.front.stopFactory()
