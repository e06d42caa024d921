"""Listening sockets from endpoint descriptions: ``tcp:8080``, ``ssl:443:privateKey=key.pem``."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

from twbridge.errors import SettingsError


def parse(reactor: Any, description: str) -> IStreamServerEndpoint:
    """The endpoint that a description means. Certificate files are read here.

    Raises:
        SettingsError: there is no such kind of endpoint, an argument is wrong, or a file is.
    """
    wrong = _wrong(description)
    if wrong:
        raise SettingsError(f"{description!r} is not an endpoint{wrong}")
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except OSError as error:
        raise SettingsError(f"{error.filename} can't be read: {error.strerror}") from None
    except (SSL.Error, crypto.Error):
        raise SettingsError(f"{description!r} names a key or certificate that is none") from None
    except Exception as error:
        # Twisted has no one error for this: ValueError, TypeError, KeyError, IndexError.
        reason = re.sub(r"^\S+\(\) ", "", " ".join(str(error).split()))
        raise SettingsError(f"{description!r} is not an endpoint: {reason}") from None
    return endpoint


def _wrong(description: str) -> str | None:
    """What is wrong with it, where Twisted says it less clearly, or only when it listens."""
    if not description:
        return ": it is empty; write one like tcp:8080"
    host, _, port = description.rpartition(":")
    if description.isdecimal():
        return f", did you mean tcp:{description}?"
    if port.isdecimal() and re.fullmatch(r"localhost|[0-9]+(\.[0-9]+){3}", host):
        interface = "127.0.0.1" if host == "localhost" else host
        return f", did you mean tcp:{port}:interface={interface}?"
    kind, *arguments = re.split(r"(?<!\\):", description)
    if kind not in ("tcp", "tcp6", "ssl"):
        return None
    named = dict(each.split("=", 1) for each in arguments if "=" in each)
    unnamed = [each for each in arguments if "=" not in each]
    given = unnamed[0] if unnamed else named.get("port")
    if not given:
        return f": it needs a port, like {kind}:8080"
    if not re.fullmatch("[0-9]{1,5}", given) or int(given) > 65535:
        return f": the port must be a number from 0 to 65535, not {given[:20]!r}"
    # Twisted's default is a file server.pem in the working directory.
    if kind == "ssl" and "privateKey" not in named and len(unnamed) < 2:
        return ": ssl: needs privateKey=FILE"
    return None


def check(description: str) -> None:
    """Find what is wrong with a description, as far as that shows without listening.

    Raises:
        SettingsError: see ``parse``.
    """
    kind, colon, _ = description.partition(":")
    # What a service manager hands over is only there when it has started us.
    if kind != "systemd" or not colon:
        parse(None, description)


def is_loopback(port: IListeningPort) -> bool:
    """Whether only this machine can connect to it: a loopback address, or a Unix socket."""
    address = port.getHost()
    host = getattr(address, "host", None)
    if host is None:
        return hasattr(address, "name")
    return ip_address(host.partition("%")[0]).is_loopback


def shown(port: IListeningPort) -> str:
    """Where it listens, for a log line: ``127.0.0.1:8080``."""
    address: Any = port.getHost()
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", address)
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def reason(error: Exception) -> str:
    """Why nobody can listen, in a few words: ``Address already in use``."""
    cause = getattr(error, "socketError", error)
    return getattr(cause, "strerror", None) or " ".join(str(cause).split())
