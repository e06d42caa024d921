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
