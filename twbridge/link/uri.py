"""AMQP URLs by RabbitMQ's URI specification and its URI query parameters.

``amqp://user:password@host:5672,[::1]:5673/vhost?heartbeat=10``

Two things go past the specification: one URL may name several hosts, separated by commas, and
several whole URLs may be joined by commas if they differ in nothing but their hosts.

A refusal names what is wrong and how to write it. It quotes nothing that stood in the place of
a user name, a password, a host or a port: in a mistyped URL the password can be in any of them.
The names of query parameters are quoted, but only where no ``@`` follows them.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

from twbridge.errors import SettingsError

DEFAULT_HEARTBEAT = 20
"""Seconds that we propose; the broker may ask for less."""
DEFAULT_CONNECTION_TIMEOUT = 10.0
"""Seconds for a TCP connection to come up."""
AUTH_MECHANISMS = ("PLAIN", "AMQPLAIN", "EXTERNAL")

_T = TypeVar("_T")

_PORTS = {"amqp": 5672, "amqps": 5671}
_TLS_NAMES = ("cacertfile", "certfile", "keyfile", "verify", "server_name_indication")
_NAMES = ("heartbeat", "connection_timeout", "auth_mechanism", *_TLS_NAMES)
_AUTHORITY = re.compile(r"[^/?#]*")
_NEXT_URL = re.compile(r",(?=[Aa][Mm][Qq][Pp][Ss]?://)")
_HOST_NAME = re.compile(r"(?=.{1,253}$)(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?")


@dataclass(frozen=True, slots=True)
class Tls:
    """What ``amqps`` needs to know. File names are kept as they were written."""

    verify: bool = True
    cacertfile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """One broker, or the nodes of one cluster, and how to log in.

    ``heartbeat`` and ``connection_timeout`` are seconds. ``str()`` gives a URL that
    :func:`parse` accepts, without the password; the password is in no ``repr`` either.
    """

    hosts: tuple[tuple[str, int], ...] = (("localhost", 5672),)
    username: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    tls: Tls | None = None
    heartbeat: int = DEFAULT_HEARTBEAT
    connection_timeout: float = DEFAULT_CONNECTION_TIMEOUT
    auth_mechanism: str = "PLAIN"

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        user = quote(self.username, safe="")
        hosts = ",".join(_written_host(host, port) for host, port in self.hosts)
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in _query_of(self))
        url = f"{scheme}://{user}@{hosts}/{quote(self.vhost, safe='')}"
        return f"{url}?{query}" if query else url


def parse(url: str, heartbeat: int = DEFAULT_HEARTBEAT) -> Parameters:
    """Read an AMQP URL; ``heartbeat`` is that of a URL that names none.

    No path means the virtual host ``/``, the path ``/`` the virtual host with the empty name.
    What is left out is RabbitMQ's default: ``guest``, ``guest``, ``localhost``, 5672 (5671 for
    ``amqps``); TLS verifies the broker unless told ``verify=verify_none``.

    Raises:
        SettingsError: one line that never holds the password.
    """
    first, *others = (_parse_one(part, heartbeat) for part in _NEXT_URL.split(url.strip()))
    hosts = list(first.hosts)
    for other in others:
        if replace(other, hosts=first.hosts) != first:
            raise _wrong("the joined URLs may differ in their hosts only")
        hosts.extend(other.hosts)
    return replace(first, hosts=tuple(hosts))


def _parse_one(url: str, heartbeat: int) -> Parameters:
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        raise _wrong("it must start with amqp:// or amqps://")
    if any(character.isspace() or not character.isprintable() for character in rest):
        raise _wrong("it holds a space or a control character; percent-encode it")
    found = _AUTHORITY.match(rest)
    authority = found[0] if found else ""
    tail = rest[len(authority) :]
    if "@" in tail or authority.count("@") > 1 or "#" in tail:
        raise _wrong("percent-encode each of @ / ? # : in the user name, password and vhost")
    username, password, hosts = _split_authority(authority, _PORTS[scheme])
    path, _, query = tail.partition("?")
    parameters = Parameters(hosts, username, password, _vhost(path), heartbeat=heartbeat)
    return _with_query(parameters, query, Tls() if scheme == "amqps" else None)


def _split_authority(
    authority: str, default_port: int
) -> tuple[str, str, tuple[tuple[str, int], ...]]:
    login, at, hosts = authority.rpartition("@")
    user, colon, secret = login.partition(":")
    if ":" in secret:
        raise _wrong("percent-encode each of @ / ? # : in the user name, password and vhost")
    username = _decoded(user, "the user name") if at else "guest"
    password = _decoded(secret, "the password") if colon else "guest"
    if "\0" in username or "\0" in password:
        raise _wrong("the user name and the password can't hold a NUL")
    return username, password, tuple(_host(host, default_port) for host in hosts.split(","))


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        host = _decoded(address, "a host")
        if not bracket or not _is_ipv6(host) or not (port == "" or port.startswith(":")):
            raise _wrong("an IPv6 host is written [address]:port")
        return host, _port(port[1:], default_port)
    name, _, port = text.partition(":")
    if ":" in port:
        raise _wrong("an IPv6 host is written [address]:port")
    host = _decoded(name, "a host")
    if host and not _HOST_NAME.fullmatch(host):
        raise _wrong("a host is a name or an address; several are separated by commas")
    return host or "localhost", _port(port, default_port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _port(text: str, default: int) -> int:
    if text == "":
        return default
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise _wrong("a port is a number from 1 to 65535")
    return int(text)


def _vhost(path: str) -> str:
    if path == "":
        return "/"
    if "/" in path[1:]:
        raise _wrong("a slash in the vhost is written %2F (the vhost / is /%2F, or no path at all)")
    vhost = _decoded(path[1:], "the vhost")
    if len(vhost.encode()) > 255:
        raise _wrong("the vhost is longer than 255 bytes")
    return vhost


def _with_query(parameters: Parameters, query: str, tls: Tls | None) -> Parameters:
    given = _query_pairs(query)
    misplaced = next((name for name in _TLS_NAMES if name in given), None)
    if tls is None and misplaced:
        raise _wrong(f"{misplaced} needs amqps://")
    return replace(
        parameters,
        heartbeat=_number(given, "heartbeat", 0, 65535, parameters.heartbeat),
        connection_timeout=_number(
            given, "connection_timeout", 1, 3_600_000, int(DEFAULT_CONNECTION_TIMEOUT * 1000)
        )
        / 1000,
        auth_mechanism=_one_of(
            {name.lower(): name for name in AUTH_MECHANISMS},
            "auth_mechanism",
            given.get("auth_mechanism", "plain").lower(),
        ),
        tls=None if tls is None else _tls(given),
    )


def _query_pairs(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        raw_name, equals, raw_value = pair.partition("=")
        name = _decoded(raw_name, "a parameter")
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, 1, 0.0)[0]
            raise _wrong(f"unknown parameter {_shown(name)}, did you mean {near}?")
        if name in given:
            raise _wrong(f"{name} is given twice")
        given[name] = _decoded(raw_value, name)
        if not equals or not given[name]:
            raise _wrong(f"{name} has no value")
    return given


def _tls(given: dict[str, str]) -> Tls:
    if "keyfile" in given and "certfile" not in given:
        raise _wrong("keyfile needs certfile beside it")
    server_name = given.get("server_name_indication")
    if server_name is not None and not _HOST_NAME.fullmatch(server_name):
        raise _wrong("server_name_indication must be a host name")
    return Tls(
        verify=_one_of(
            {"verify_peer": True, "verify_none": False},
            "verify",
            given.get("verify", "verify_peer"),
        ),
        cacertfile=given.get("cacertfile"),
        certfile=given.get("certfile"),
        keyfile=given.get("keyfile"),
        server_name=server_name,
    )


def _number(given: dict[str, str], name: str, low: int, high: int, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
        unit = "milliseconds" if name == "connection_timeout" else "seconds"
        raise _wrong(f"{name} is a whole number of {unit} from {low} to {high}")
    return int(text)


def _one_of(choices: dict[str, _T], name: str, value: str) -> _T:
    if value not in choices:
        raise _wrong(f"{name} must be one of {', '.join(choices)}, not {_shown(value)}")
    return choices[value]


def _decoded(text: str, what: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise _wrong(f"{what} holds a % that starts no escape; a percent sign is written %25")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise _wrong(f"{what} is not UTF-8 once decoded") from None


def _shown(text: str) -> str:
    short = text if len(text) <= 40 else text[:39] + "…"
    return ascii(short) if not short.isprintable() else f"'{short}'"


def _wrong(what: str) -> SettingsError:
    return SettingsError(f"AMQP URL: {what}")


def _written_host(host: str, port: int) -> str:
    name = f"[{quote(host, safe=':')}]" if ":" in host else quote(host, safe="")
    return f"{name}:{port}"


def _query_of(parameters: Parameters) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str | None]] = []
    if parameters.heartbeat != DEFAULT_HEARTBEAT:
        pairs.append(("heartbeat", str(parameters.heartbeat)))
    if parameters.connection_timeout != DEFAULT_CONNECTION_TIMEOUT:
        pairs.append(("connection_timeout", str(round(parameters.connection_timeout * 1000))))
    if parameters.auth_mechanism != "PLAIN":
        pairs.append(("auth_mechanism", parameters.auth_mechanism.lower()))
    tls = parameters.tls
    if tls is not None:
        pairs += [
            ("cacertfile", tls.cacertfile),
            ("certfile", tls.certfile),
            ("keyfile", tls.keyfile),
            ("verify", None if tls.verify else "verify_none"),
            ("server_name_indication", tls.server_name),
        ]
    return [(name, value) for name, value in pairs if value is not None]
