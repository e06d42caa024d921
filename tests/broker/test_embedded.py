"""The embedded broker as it is started and stopped."""

from __future__ import annotations

from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twbridge.broker import EmbeddedBroker
from twbridge.broker.embedded import DEFAULT_PORT
from twbridge.errors import SettingsError


class BusyReactor(MemoryReactorClock):
    """The usual port is taken."""

    def listenTCP(self, port: int, *args: object, **kwargs: object) -> object:
        if port == DEFAULT_PORT:
            raise CannotListenError("127.0.0.1", port, OSError("taken"))
        return super().listenTCP(port, *args, **kwargs)


class ListenTests(SynchronousTestCase):
    def test_the_usual_port_is_tried_first(self) -> None:
        memory = MemoryReactorClock()
        self.successResultOf(EmbeddedBroker(memory).listen())
        ((port, _, _, interface),) = memory.tcpServers
        self.assertEqual((port, interface), (5672, "127.0.0.1"))

    def test_any_other_will_do_when_it_is_taken(self) -> None:
        memory = BusyReactor()
        self.successResultOf(EmbeddedBroker(memory).listen())
        ((port, _, _, interface),) = memory.tcpServers
        self.assertEqual((port, interface), (0, "127.0.0.1"))

    def test_a_port_that_was_asked_for_is_that_or_none(self) -> None:
        self.failureResultOf(
            EmbeddedBroker(BusyReactor()).listen(port=DEFAULT_PORT), CannotListenError
        )

    def test_only_this_machine_is_served(self) -> None:
        broker = EmbeddedBroker(MemoryReactorClock())
        for host in ("0.0.0.0", "", "192.0.2.1", "localhost.example", "::"):
            with self.assertRaisesRegex(SettingsError, "not a loopback address"):
                broker.listen(host)


class StartAndStopTests(TestCase):
    async def test_it_listens_until_it_is_stopped(self) -> None:
        broker = EmbeddedBroker(reactor)
        port = await broker.listen(port=0)
        self.assertEqual(broker.url, f"amqp://guest:guest@127.0.0.1:{port}/%2F")
        await broker.stop()
        again = cast(IReactorTCP, reactor).listenTCP(port, broker.factory, interface="127.0.0.1")
        await cast("Deferred[None]", again.stopListening())

    async def test_stopping_what_never_listened_is_fine(self) -> None:
        await EmbeddedBroker(reactor).stop()

    def test_a_url_quotes_its_user(self) -> None:
        memory = MemoryReactorClock()
        broker = EmbeddedBroker(memory, users={"a b": "p@/"})
        self.successResultOf(broker.listen("::1", 1234))
        self.assertRegex(broker.url, r"^amqp://a%20b:p%40%2F@\[::1\]:\d+/%2F$")
