"""Paths of a listener that are served by WSGI workers: whose a request is, and what they get of it.

A path of our own is never a worker's. Of the mounts that the settings name the longest that is a
prefix wins, which ends where a segment does.
Where everything is allowed anyway, a worker need not be named: then the first segment of a path
that is nothing else is tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, Protocol

from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.sockets.sides import AGAIN, IAnswering, IRelay, IRelayError
from twbridge.wsgi.fields import forwarded
from twbridge.wsgi.messages import WINDOW, Fields, Request
from twbridge.wsgi.ports import Answering, Forwarded, Mount

__all__ = ["Gateway", "Mounts", "Route"]

#: The first segment of a path, where it can be a mount that nobody has named: no worker has /api.
_FIRST: Final = re.compile(r"/(?!(?:\.{1,2}|api)(?:/|$))[A-Za-z0-9._~-]{1,100}(?=/|$)").match
#: A name or an address, and a port (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
_HOST: Final = re.compile(
    r"([A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?"
).fullmatch
#: What a client on a Unix socket has in place of one.
_NO_ADDRESS: Final = "unix"
#: Mounts and names of hosts that are remembered: clients choose them.
_REMEMBERED: Final = 256


class Gateway(Protocol):
    """Takes requests to workers: a ``wsgi.gateway.Gateway``."""

    def forward(self, request: Request, mount: Mount, answer: Answering, /) -> Forwarded:
        """Takes one, whose body is still to come."""


@lru_cache(maxsize=_REMEMBERED)
def _server(host: str, secure: bool) -> tuple[str, int]:
    """The name and the port in a ``Host``.

    Raises:
        Refusal: 400, it is none.
    """
    match = _HOST(host)
    port = int((match and match[2]) or (443 if secure else 80))
    if match is None or port > 65_535:
        raise Refusal(400, "The header field host is not the name of a host.")
    return match[1], port


def _fields(head: Head, client: Client) -> Fields:
    """Those for the application: its ``Host`` is what the client called, also before a proxy."""
    fields = forwarded(head.fields())
    if client.host and head.values("host") != [client.host]:
        return [("host", client.host), *(each for each in fields if each[0] != "host")]
    return fields


class Route:
    """One mount; see ``sides.IRelaySide``.

    Args:
        gateway: where requests go.
        mount: of the application.
        server: what the client calls, where it does not say.
    """

    def __init__(self, gateway: Gateway, mount: Mount, server: tuple[str, int]) -> None:
        self.mount = mount
        self.limit = mount.body
        self._gateway = gateway
        self._server = server
        self._name = mount.script_name
        self.below = f"{self._name}/"

    def has(self, path: str) -> bool:
        """Whether it is the mount's."""
        return path.startswith(self.below) or path == self._name

    def check(self, head: Head, client: Client) -> None:
        """Lets a request pass, or not.

        Raises:
            Refusal: 400, its target or its host is none.
        """
        if "#" in head.target:
            raise Refusal(400, "The request's target has a fragment.")
        if head.version >= (1, 1) and not head.values("host"):
            raise Refusal(400, "The header field host is missing.")
        if client.host:
            _server(client.host, client.secure)

    def relay(
        self, head: Head, client: Client, length: int | None, answering: IAnswering
    ) -> IRelay:
        """Takes a request to a worker. A client without an address has an empty one there."""
        path, _, query = head.target.partition("?")
        request = Request(
            head.method,
            self._name,
            path[len(self._name) :],
            query,
            "HTTP/1.1" if head.version >= (1, 1) else "HTTP/1.0",
            "https" if client.secure else "http",
            _server(client.host, client.secure) if client.host else self._server,
            ("" if client.address == _NO_ADDRESS else client.address, 0),
            _fields(head, client),
            length,
            b"",
            True,
            WINDOW,
            self.mount.timeout,
        )
        return self._gateway.forward(request, self.mount, answering)

    def refusal(self, error: IRelayError) -> Refusal:
        """How the client is told that there is no answer."""
        if error.unserved and not self.mount.named:
            return Refusal(404, f"There is nothing here, and no worker serves {self._name}.")
        return Refusal(error.status, error.sentence, AGAIN if error.status == 503 else ())


class Mounts:
    """All mounts of one listener.

    Args:
        gateway: where their requests go.
        mounts: those that the settings name.
        is_open: whether a client may use a mount that nobody has named.
        knows: whether a path is our own.
        server: the name and the port of the listener, for clients that do not say what they call.
    """

    def __init__(
        self,
        gateway: Gateway,
        mounts: Iterable[Mount],
        is_open: Callable[[Head, Client], bool],
        knows: Callable[[str], bool],
        server: tuple[str, int] = ("localhost", 80),
    ) -> None:
        routes = [Route(gateway, mount, server) for mount in mounts]
        self._routes = sorted(routes, key=lambda route: -len(route.mount.path))
        self._is_open = is_open
        self._knows = knows
        self._guess = lru_cache(maxsize=_REMEMBERED)(
            lambda path: Route(gateway, Mount(path, named=False), server)
        )

    def find(self, head: Head, client: Client) -> Route | None:
        """Whose a request is; None: none of these.

        Raises:
            Refusal: 400, its target or its host is none.
        """
        route = self._find(head, client)
        if route is not None:
            route.check(head, client)
        return route

    def _find(self, head: Head, client: Client) -> Route | None:
        path = head.path
        if path[:1] != "/" or self._knows(path):
            return None
        for route in self._routes:
            if route.has(path):
                return route
        first = _FIRST(path)
        if first is None or not self._is_open(head, client):
            return None
        return self._guess(first[0])
