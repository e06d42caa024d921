"""Where a bridge is: ``ws://``, ``wss://`` and ``ws+unix://`` URLs (pure).

``ws+unix:///run/twbridge.sock:/ws`` is the path of a Unix socket, a colon, and the path of the
URL; a percent-encoded socket path may hold colons.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from twbridge.errors import SettingsError

__all__ = ["Address", "parse_address"]

_PORTS = {"ws": 80, "wss": 443}
_UNIX = "ws+unix://"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a bridge is.

    Attributes:
        secure: it speaks TLS.
        host: a host name or an IP address, without brackets.
        port: TCP's.
        socket: the path of a Unix socket; it is used, and not the host, where there is one.
        resource: the path and the query of the request.
    """

    secure: bool
    host: str
    port: int
    socket: str | None
    resource: str

    def resource_for(self, client: str) -> str:
        """The path and the query, with the name of a client."""
        return f"{self.resource}{'&' if '?' in self.resource else '?'}client={quote(client)}"

    @property
    def url(self) -> str:
        """A ``ws`` or ``wss`` URL of the host, for Autobahn."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}{self.resource}"

    def __str__(self) -> str:
        if self.socket is not None:
            return f"{_UNIX}{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}"


def parse_address(url: str) -> Address:
    """Read a URL.

    Raises:
        SettingsError: it is not one of a bridge; one line that says why.
    """
    if not url.isprintable() or " " in url:
        raise SettingsError(f"The URL {url!r} has a space or a control character.")
    if url.startswith(_UNIX):
        return _unix(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"The URL {url!r} can't be read: {error}.") from None
    if parts.scheme not in _PORTS:
        raise SettingsError(f"The URL {url!r} does not begin with ws://, wss:// or ws+unix://.")
    if not host or port == 0:
        raise SettingsError(f"The URL {url!r} has no {'port' if host else 'host'}.")
    if "@" in parts.netloc:
        raise SettingsError("A WebSocket URL has no user and no password: give a token.")
    if parts.fragment:
        raise SettingsError(f"The URL {url!r} has a fragment.")
    resource = (quote(parts.path, "/%!$&'()*+,;=:@~") or "/") + _query(parts.query)
    return Address(parts.scheme == "wss", host, port or _PORTS[parts.scheme], None, resource)


def _unix(url: str) -> Address:
    path, colon, rest = url.removeprefix(_UNIX).partition(":")
    if not path.startswith("/"):
        raise SettingsError(f"The URL {url!r} needs three slashes and the path of a socket.")
    if colon and not rest.startswith("/"):
        raise SettingsError(f"The URL {url!r} needs a path behind the colon: ':/ws'.")
    if "#" in rest:
        raise SettingsError(f"The URL {url!r} has a fragment.")
    path_of_url, _, query = rest.partition("?")
    resource = (quote(path_of_url, "/%!$&'()*+,;=:@~") or "/") + _query(query)
    return Address(False, "localhost", 80, unquote(path), resource)


def _query(query: str) -> str:
    return "?" + quote(query, "/%!$&'()*+,;=:@~?") if query else ""
