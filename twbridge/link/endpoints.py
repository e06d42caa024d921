"""The way to one host of an AMQP URL: TCP, or TLS that verifies.

With ``amqps`` the broker must show a certificate for its host name (or for
``server_name_indication``) that the system's store, or ``cacertfile``, vouches for;
``verify_none`` in the URL is the only way around it.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from zope.interface import implementer

from twbridge.errors import SettingsError
from twbridge.link.uri import Parameters, Tls

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol


def endpoint(reactor: Any, parameters: Parameters, host: str, port: int) -> IStreamClientEndpoint:
    """Where to connect for one of ``parameters.hosts``.

    Certificate files are read here, so that a new connection uses renewed ones.

    Raises:
        SettingsError: a certificate file is missing, unreadable or not what it should be.
    """
    plain = HostnameEndpoint(reactor, host, port, timeout=parameters.connection_timeout)
    if parameters.tls is None:
        return plain
    return wrapClientTLS(_creator(parameters.tls, parameters.tls.server_name or host), plain)


def check(parameters: Parameters) -> None:
    """Read every certificate file that the parameters name, to fail at start and not later.

    Raises:
        SettingsError: one line that names the file and what is wrong with it.
    """
    if parameters.tls is not None:
        _creator(parameters.tls, "localhost")


def _creator(tls: Tls, name: str) -> IOpenSSLClientConnectionCreator:
    options = _client_certificate(tls)
    trust = None
    if tls.cacertfile is not None:
        trust = trustRootFromCertificates(
            [
                Certificate.loadPEM(each.public_bytes(Encoding.PEM))
                for each in _certificates(tls.cacertfile)
            ]
        )
    try:
        if not tls.verify:
            return _Unverified(CertificateOptions(**options).getContext(), name)
        return optionsForClientTLS(name, trustRoot=trust, extraCertificateOptions=options)
    except ValueError:
        raise SettingsError(f"AMQP URL: {_quoted(name)} can't be verified as a host name") from None


def _client_certificate(tls: Tls) -> dict[str, Any]:
    if tls.certfile is None:
        return {}
    first, *rest = _certificates(tls.certfile)
    keyfile = tls.keyfile or tls.certfile
    try:
        key = load_pem_private_key(_read(keyfile), password=None)
    except TypeError:
        raise SettingsError(f"AMQP URL: the private key in {keyfile} is encrypted") from None
    except ValueError:
        raise SettingsError(f"AMQP URL: there is no private key in {keyfile}") from None
    if key.public_key() != first.public_key():  # OpenSSL would drop the certificate in silence
        raise SettingsError(
            f"AMQP URL: the key in {keyfile} does not belong to the certificate in {tls.certfile}"
        )
    return {
        "privateKey": key,
        "certificate": first,
        "extraCertChain": rest,
    }


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise SettingsError(f"AMQP URL: there is no PEM certificate in {path}") from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"AMQP URL: {_quoted(path)} can't be read: {reason}") from None


def _quoted(text: str) -> str:
    return text if text.isprintable() else ascii(text)


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """TLS that asks the broker for no proof: ``verify_none``."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        if not _is_address(self._name):
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
