"""The endpoint of a host: verification on by default, and files checked at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.certificates import Authority
from twbridge.errors import SettingsError
from twbridge.link.endpoints import check, endpoint
from twbridge.link.uri import parse


class PlainTests(SynchronousTestCase):
    def test_amqp_is_a_host_name_with_the_timeout_of_the_url(self) -> None:
        clock = MemoryReactorClock()
        parameters = parse("amqp://10.0.0.9:1234/v?connection_timeout=1500")
        ((host, port),) = parameters.hosts
        made = endpoint(clock, parameters, host, port)
        self.assertIsInstance(made, HostnameEndpoint)
        made.connect(Factory.forProtocol(Protocol))
        self.assertEqual(clock.tcpClients[0][1], 1234)
        self.assertEqual(clock.tcpClients[0][3], 1.5)

    def test_nothing_is_read_without_tls(self) -> None:
        check(parse("amqp://h"))


class FileTests(SynchronousTestCase):
    """A certificate file that is no use is told at once, in one line that names it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority(self.folder)
        self.certificate, self.key = self.authority.issue("client")

    def refusal(self, query: str) -> str:
        for attempt in (check, lambda p: endpoint(MemoryReactorClock(), p, "h", 1)):
            with self.assertRaises(SettingsError) as caught:
                attempt(parse(f"amqps://h?{query}"))
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        return text

    def test_good_files_pass(self) -> None:
        check(
            parse(
                f"amqps://h?cacertfile={self.authority.ca}&certfile={self.certificate}"
                f"&keyfile={self.key}"
            )
        )
        both = self.folder / "both.pem"
        both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        check(parse(f"amqps://h?certfile={both}&verify=verify_none"))

    def test_a_missing_file(self) -> None:
        for name in ("cacertfile", "certfile"):
            text = self.refusal(f"{name}=/nowhere/x.pem")
            self.assertIn("/nowhere/x.pem can't be read: No such file or directory", text)
        text = self.refusal(f"certfile={self.certificate}&keyfile=/nowhere/x.key")
        self.assertIn("/nowhere/x.key can't be read", text)

    def test_a_folder_or_a_name_with_a_nul(self) -> None:
        self.assertIn("Is a directory", self.refusal(f"cacertfile={self.folder}"))
        self.assertIn("can't be read", self.refusal("cacertfile=a%00b"))

    def test_a_file_that_holds_something_else(self) -> None:
        other = self.folder / "other"
        other.write_text("hello")
        self.assertIn("no PEM certificate in", self.refusal(f"cacertfile={other}"))
        self.assertIn("no PEM certificate in", self.refusal(f"certfile={self.key}"))
        query = f"certfile={self.certificate}&keyfile="
        self.assertIn("no private key in", self.refusal(query + str(other)))
        self.assertIn("no private key in", self.refusal(f"certfile={self.certificate}"))

    def test_an_encrypted_key_and_a_key_of_another_certificate(self) -> None:
        _, foreign = self.authority.issue("foreign")
        query = f"certfile={self.certificate}&keyfile="
        self.assertIn("does not belong", self.refusal(query + str(foreign)))
        locked = self.folder / "locked.key"
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        locked.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"x"),
            )
        )
        self.assertIn("is encrypted", self.refusal(query + str(locked)))


class Greeter(Protocol):
    """Tells a client that it came through, and what it showed."""

    def __init__(self, gone: list[Deferred[None]]) -> None:
        self._gone: Deferred[None] = Deferred()
        gone.append(self._gone)

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, _data: bytes) -> None:
        transport: Any = self.transport
        connection: SSL.Connection = transport.getHandle()
        peer = connection.get_peer_certificate(as_cryptography=True)
        name = connection.get_servername() or b"-"
        shown = peer.subject.rfc4514_string().encode() if peer else b"-"
        transport.write(name + b" " + shown)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self._gone.callback(None)


class Asker(Protocol):
    """Fires with what the :class:`Greeter` said, or with why the connection ended."""

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._heard: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self._heard.append(data)
        if len(self._heard) == 1:
            self.transport.write(b"?")
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if len(self._heard) == 2:
            self.answer.callback(self._heard[1])
        else:
            self.answer.errback(reason)


class HandshakeTests(TestCase):
    """Against a real TLS listener on loopback."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.gone: list[Deferred[None]] = []
        self.authority = Authority(folder)
        self.client = self.authority.issue("client", ())
        self.port = self.listen(self.authority.issue("server", ("localhost", "broker.test")))

    def listen(self, files: tuple[Path, Path]) -> int:
        certificate, key = (path.read_bytes() for path in files)
        root = Certificate.loadPEM(self.authority.ca.read_bytes())
        context = CertificateOptions(
            privateKey=serialization.load_pem_private_key(key, None),  # type: ignore[arg-type]
            certificate=x509.load_pem_x509_certificate(certificate),  # type: ignore[arg-type]
            trustRoot=trustRootFromCertificates([root]),
        )
        context.requireCertificate = False
        factory = Factory.forProtocol(lambda: Greeter(self.gone))
        port: IListeningPort = reactor.listenSSL(  # type: ignore[attr-defined]
            0, factory, context, interface="127.0.0.1"
        )
        self.addCleanup(lambda: gatherResults(self.gone))
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)  # type: ignore[attr-defined]

    async def ask(self, host: str = "localhost", **query: object) -> bytes:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        parameters = parse(f"amqps://{host}:{self.port}?{text}")
        where = endpoint(reactor, parameters, host, self.port)
        asker = await where.connect(Factory.forProtocol(Asker))
        assert isinstance(asker, Asker)
        return await asker.answer

    async def refused(self, host: str = "localhost", **query: object) -> str:
        with self.assertRaises((SSL.Error, VerificationError)) as caught:
            await self.ask(host, **query)
        return str(caught.exception)

    async def test_the_ca_of_the_url_is_trusted(self) -> None:
        self.assertEqual(await self.ask(cacertfile=self.authority.ca), b"localhost -")

    async def test_the_systems_store_is_the_default_and_knows_nothing_of_our_ca(self) -> None:
        self.assertIn("certificate verify failed", await self.refused())

    async def test_another_ca_does_not_do(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        other = Authority(folder, "another CA").ca
        self.assertIn("verify failed", await self.refused(cacertfile=other))

    async def test_a_bundle_of_several_cas(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        bundle = folder / "bundle.pem"
        other = Authority(folder, "another CA").ca
        bundle.write_bytes(other.read_bytes() + self.authority.ca.read_bytes())
        self.assertEqual(await self.ask(cacertfile=bundle), b"localhost -")

    async def test_the_name_must_match_and_may_be_given(self) -> None:
        await self.refused("127.0.0.1", cacertfile=self.authority.ca)
        answer = await self.ask(
            "127.0.0.1", cacertfile=self.authority.ca, server_name_indication="broker.test"
        )
        self.assertEqual(answer, b"broker.test -")
        await self.refused(cacertfile=self.authority.ca, server_name_indication="other.test")

    async def test_verify_none_asks_for_no_proof_and_still_names_the_host(self) -> None:
        self.assertEqual(await self.ask(verify="verify_none"), b"localhost -")
        self.assertEqual(await self.ask("127.0.0.1", verify="verify_none"), b"- -")

    async def test_a_client_certificate_is_shown(self) -> None:
        certificate, key = self.client
        for query in ({"cacertfile": self.authority.ca}, {"verify": "verify_none"}):
            answer = await self.ask(certfile=certificate, keyfile=key, **query)
            self.assertEqual(answer, b"localhost CN=client")

    async def test_a_renewed_file_is_used_by_the_next_connection(self) -> None:
        await self.refused(cacertfile=self.bundle())
        shutil.copy(self.authority.ca, self.renewed)
        self.assertEqual(await self.ask(cacertfile=self.renewed), b"localhost -")

    def bundle(self) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.renewed = Authority(folder, "old CA").ca
        return self.renewed
