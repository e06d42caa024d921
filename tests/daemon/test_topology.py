"""What the settings have the broker hold."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twbridge.daemon.topology import declare
from twbridge.errors import ChannelClosed
from twbridge.link.topology import Exchange, Queue
from twbridge.settings import Exchange as ExchangeSettings
from twbridge.settings import Route, Settings, Stream


class Broker:
    """A link that keeps what it is asked to declare, and refuses some."""

    def __init__(self, *refused: str) -> None:
        self.declared: list[tuple[Exchange | Queue, tuple[tuple[str, str], ...]]] = []
        self._refused = refused

    def declare(
        self, what: Exchange | Queue, bindings: Iterable[tuple[str, str]] = ()
    ) -> Deferred[None]:
        self.declared.append((what, tuple(bindings)))
        if what.name in self._refused:
            return fail(ChannelClosed(403, "not yours"))
        return succeed(None)


class DeclareTests(SynchronousTestCase):
    settings = Settings(
        route=(Route(publish="/exchange/X/", subscribe="/stream/history"),),
        exchange=(ExchangeSettings(name="Y", type="fanout", durable=False, arguments={"a": 1}),),
        stream=(
            Stream(name="history", max_age="7D", bindings=("/exchange/Y", "/topic/a.%23")),
            Stream(name="big", max_bytes=800_000_000, bindings=("/exchange/Z/k",)),
        ),
    )

    def test_exchanges_come_first_and_streams_are_bound(self) -> None:
        broker = Broker()
        declare(broker, self.settings)
        arguments = {"x-queue-type": "stream", "x-max-age": "7D"}
        bytes_only = {
            "x-queue-type": "stream",
            "x-max-length-bytes": 800_000_000,
            "x-stream-max-segment-size-bytes": 100_000_000,
        }
        self.assertEqual(
            broker.declared,
            [
                (Exchange("Y", "fanout", False, arguments={"a": 1}), ()),
                (Exchange("X"), ()),
                (Exchange("Z"), ()),
                (
                    Queue(
                        "history",
                        arguments=arguments,
                        durable=True,
                        exclusive=False,
                        auto_delete=False,
                    ),
                    (("Y", ""), ("amq.topic", "a.#")),
                ),
                (
                    Queue(
                        "big",
                        arguments=bytes_only,
                        durable=True,
                        exclusive=False,
                        auto_delete=False,
                    ),
                    (("Z", "k"),),
                ),
            ],
        )

    def test_what_is_refused_is_logged_and_stops_nothing(self) -> None:
        lines: list[str | None] = []

        @implementer(ILogObserver)
        def watch(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(watch)
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        broker = Broker("Y", "history")
        declare(broker, self.settings)
        self.assertEqual(len(broker.declared), 5)
        self.assertEqual(
            lines,
            [
                "The broker refused the exchange Y: 403 not yours",
                "The broker refused the stream history: 403 not yours",
            ],
        )
