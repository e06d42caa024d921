"""Who is on the other side: the client's address behind proxies, and the page it comes from.

Sans-I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final
from urllib.parse import SplitResult, urlsplit

from twbridge.errors import SettingsError
from twbridge.sockets.heads import Head, Refusal

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SAME: Final = "self"
"""In an allow-list of origins: the origin that the page itself was served from."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_WITH_PORT: Final = re.compile(r"\[([^\]]+)\](?::\d+)?|([^:]+):\d+")


@dataclass(frozen=True)
class Listener:
    """What is known of a listening socket and what stands before it.

    Attributes:
        origins: which pages may open a WebSocket: ``https://app.example``, with ``*.`` before a
            domain for all below it, ``self`` for pages served by this listener, ``*`` for all.
            Empty means ``self``. ``null`` is never allowed, and a client that names no origin
            (no browser leaves it out) always.
        proxies: addresses and networks whose ``X-Forwarded-For``, ``-Proto`` and ``-Host`` are
            believed.
        loopback: it can be reached from this machine only.

    Raises:
        SettingsError: an origin or a network that is none.
    """

    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    loopback: bool = False

    def __post_init__(self) -> None:
        networks(self.proxies)
        compile_origins(self.origins)


@dataclass(frozen=True)
class Client:
    """The client of one connection.

    Attributes:
        address: an IP address, or ``unix`` for one on a Unix socket.
        forwarded: the request came through a proxy, believed or not.
        secure: the client's side speaks TLS.
        host: what it calls us, as in its ``Host``, ``chat.example:8080``; empty where it did not
            say.
    """

    address: str
    forwarded: bool
    secure: bool
    host: str

    @property
    def local(self) -> bool:
        """It came by no proxy, and calls us by a name that always means its own machine.

        Any other name may be a stranger's, whose page has led a browser here (DNS rebinding):
        its origin is the same as ours, and its requests come from this machine.
        """
        if self.forwarded:
            return False
        parts = _split(f"http://{self.host or 'localhost'}")
        name = ((parts and parts.hostname) or "").rstrip(".")
        address = address_of(name)
        if address is not None:
            return address.is_loopback
        return name == "localhost" or name.endswith(".localhost")


def networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Reads addresses and networks, ``10.0.0.0/8`` or ``::1``.

    Raises:
        SettingsError: one that is neither.
    """
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise SettingsError(f"listen.proxies: {error}") from None


def address_of(text: str) -> IPAddress | None:
    """The address in `text`, which may have a port or brackets; None where there is none.

    An IPv4 address in IPv6's clothes is taken out of them.
    """
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def neighbourhood(address: str) -> str:
    """What limits "for each address" count by: an IPv4 address, or the /64 of an IPv6 one.

    Whoever has one address of a /64 has all of them (RFC 6177).
    """
    parsed = address_of(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed) if parsed else address


class Proxies:
    """The proxies that are believed.

    Args:
        trusted: from `networks`.
    """

    def __init__(self, trusted: Iterable[IPNetwork]) -> None:
        self._trusted = tuple(trusted)

    def trusts(self, address: str) -> bool:
        """True for the address of a proxy, and for a Unix socket's other end if there is any
        proxy at all: who may open the socket is the file system's business.
        """
        if not self._trusted:
            return False
        parsed = address_of(address)
        if parsed is None:
            return address == "unix"
        return any(parsed in network for network in self._trusted)

    def client(self, head: Head, address: str, *, secure: bool) -> Client:
        """Who sent `head` to us from `address`.

        Headers are believed only from a trusted peer; of several addresses in
        ``X-Forwarded-For`` the last one that is no trusted proxy is the client's.
        """
        chain = head.items("x-forwarded-for")
        forwarded = bool(chain or head.values("forwarded"))
        host = (head.values("host") or [""])[-1]
        if self.trusts(address):
            for entry in reversed(chain):
                parsed = address_of(entry)
                if parsed is None:
                    break
                address = str(parsed)
                if not self.trusts(address):
                    break
            proto = head.items("x-forwarded-proto")
            secure = proto[-1].lower() in ("https", "wss") if proto else secure
            host = (head.items("x-forwarded-host") or [host])[-1]
        return Client(address, forwarded, secure, host)


def compile_origins(origins: Iterable[str]) -> tuple[re.Pattern[str] | None, ...]:
    """Reads an allow-list; None stands for ``self``.

    Raises:
        SettingsError: an entry that is neither an origin, nor ``self``, nor ``*``.
    """
    return tuple(None if text == SAME else _pattern(text) for text in origins)


def _pattern(text: str) -> re.Pattern[str]:
    if text == "*":
        return re.compile(r"https?://.+")
    parts = _split(text.replace("//*.", "//any.", 1))
    if parts is None or parts.path.strip("/") or parts.query:
        raise SettingsError(
            f'listen.origins: {text!r} is not an origin like "https://app.example", '
            f'"https://*.app.example", "self" or "*"'
        )
    exact = re.escape(_normal(parts))
    if "//*." in text:
        exact = exact.replace("//any", r"//[a-z0-9.-]+", 1)
    return re.compile(exact)


def _split(origin: str) -> SplitResult | None:
    """The parts of an http or https origin, None where it isn't one."""
    try:
        parts = urlsplit(origin)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username:
            return None
        _ = parts.port  # raises ValueError where it is no number
    except ValueError:
        return None
    return parts


def _normal(parts: SplitResult) -> str:
    """An origin in one spelling, its port always there."""
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"


class OriginRule:
    """Which pages may open a WebSocket here (RFC 6455 section 10.2).

    Args:
        origins: the listener's allow-list; empty means ``self``.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._allowed = compile_origins(tuple(origins) or (SAME,))

    def check(self, origin: str | None, client: Client) -> None:
        """Lets a request pass, or not.

        Args:
            origin: the header's value, None where there is none.

        Raises:
            Refusal: 403.
        """
        if origin is None:
            return
        parts = _split(origin)
        if parts is None or not any(
            pattern.fullmatch(_normal(parts)) if pattern else _is_same(parts, client)
            for pattern in self._allowed
        ):
            raise Refusal(
                403, "Pages of this origin may not connect here: listen.origins does not name it."
            )


def _is_same(origin: SplitResult, client: Client) -> bool:
    """True where the page came from the host and port that the client connects to.

    A page of https may come through a proxy that ends TLS and does not say so: a browser does
    not let it open anything but ``wss:``, so the host and port are enough. A page of http is
    never the same as a secure listener.
    """
    if client.secure and origin.scheme != "https":
        return False
    ours = _split(f"{origin.scheme}://{client.host}")
    return ours is not None and _normal(ours) == _normal(origin)
