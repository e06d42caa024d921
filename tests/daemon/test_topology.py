"""What the settings have the broker hold."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twbridge.daemon.topology import Redeclaring, declare
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


def logged(case: SynchronousTestCase) -> list[str | None]:
    """What is logged from now on."""
    lines: list[str | None] = []

    @implementer(ILogObserver)
    def watch(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(watch)
    case.addCleanup(globalLogPublisher.removeObserver, watch)
    return lines


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
        lines = logged(self)
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


class Slow:
    """A link that is answered by the test."""

    def __init__(self) -> None:
        self.asked: list[Deferred[None]] = []

    def declare(
        self, what: Exchange | Queue, bindings: Iterable[tuple[str, str]] = ()
    ) -> Deferred[None]:
        self.asked.append(Deferred())
        return self.asked[-1]


class RedeclaringTests(SynchronousTestCase):
    """Many readers look for a stream that was deleted, each four times a second."""

    def setUp(self) -> None:
        self.link = Slow()
        streams = (Stream(name="a", max_age="7D"), Stream(name="b", max_age="7D"))
        self.look = Redeclaring(self.link, Settings(stream=streams)).redeclare

    def test_it_is_declared_once_for_all(self) -> None:
        for _ in range(3):
            self.look("a")
        self.assertEqual(len(self.link.asked), 1)
        self.look("b")
        self.assertEqual(len(self.link.asked), 2)
        for asked in list(self.link.asked):
            asked.callback(None)
        self.look("a")
        self.assertEqual(len(self.link.asked), 3)

    def test_one_that_the_settings_do_not_name_is_not(self) -> None:
        self.look("c")
        self.assertEqual(self.link.asked, [])

    def test_a_refusal_is_logged_once(self) -> None:
        lines = logged(self)
        refused, other = ChannelClosed(403, "not yours"), ChannelClosed(406, "otherwise")
        for error in (refused, refused, other, None, other):
            self.look("a")
            if error is None:
                self.link.asked[-1].callback(None)
            else:
                self.link.asked[-1].errback(error)
        self.assertEqual(len(self.link.asked), 5)
        said = [f"The broker refused the stream a: {error}" for error in (refused, other, other)]
        self.assertEqual(lines, said)
