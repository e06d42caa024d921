"""Streams in every interleaving: nobody misses a message, or gets one twice, untold."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeOutlet
from tests.subscriptions.brokers import StreamLink
from twbridge.commands import Gap
from twbridge.destinations import Destination, parse
from twbridge.starts import Start
from twbridge.subscriptions.reads import Reads
from twbridge.subscriptions.streams import Streams
from twbridge.wire import Delivery

NAME = "log"


class LineEncoder:
    """A message is a line: its offset and its body."""

    def encode(
        self,
        destination: Destination,
        delivery: Delivery,
        *,
        offset: int | None = None,
        delivery_tag: int | None = None,
    ) -> bytes:
        return f"{offset} ".encode() + delivery.body + b"\n"


ENCODER = LineEncoder()


class Client:
    """A subscriber, and what it may expect."""

    def __init__(self, start: Start, room: int, encoder: Any) -> None:
        self.start = start
        self.outlet = FakeOutlet(encoder)
        self.outlet.room = self.room = room
        self.answers: list[Any] = []
        self.subscription: Any = None
        #: The generation and the first offset that it has to get; None: any.
        self.wanted: tuple[int, int] | None = None

    def subscribed(self, result: Any) -> None:
        self.answers.append(result)

    def log(self) -> list[tuple[str, int, int]]:
        """("message", generation, offset) and ("gap", first, resumed) in order."""
        found: list[tuple[str, int, int]] = []
        for each in self.outlet.heard:
            if isinstance(each, bytes):
                for line in each.decode().splitlines():
                    offset, generation, again = map(int, re.split("[ /]", line))
                    assert offset == again
                    found.append(("message", generation, offset))
            elif isinstance(each, Gap):
                assert each.first is not None
                assert each.resumed is not None
                found.append(("gap", each.first, each.resumed))
        return found


class World:
    """A broker with one stream, an instance, and clients."""

    def __init__(self, seed: int, renews: bool) -> None:
        self.random = random.Random(seed)
        self.renews = renews
        self.renewals = 0
        self.clock = Clock()
        self.clock.advance(1000)
        self.link = StreamLink()
        self.reads = Reads(self.link)
        self.streams = Streams(self.link, self.clock, self.reads)
        self.clients: list[Client] = []
        self.link.make(NAME)
        self.was_anew = False

    # -- what can happen

    def publish(self) -> None:
        if NAME in self.link.streams:
            # Another stream with a hole just where we were can't be told from retention.
            count = self.random.randint(1, 4)
            hole = 0 if self.renews else self.random.choice((0, 0, 1))
            self.link.publish(NAME, count, time=int(self.clock.seconds()), hole=hole)

    def subscribe(self) -> None:
        if len(self.clients) >= 6:
            return
        if NAME not in self.link.streams and not self.clients:
            return
        start = self.random.choice(
            [
                Start("first"),
                Start("last"),
                Start("next"),
                Start("offset", self.random.randint(0, 12)),
                Start("timestamp", int(self.clock.seconds()) - self.random.randint(-1, 2)),
            ]
        )
        client = Client(start, self.random.choice((1, 2, 1000)), ENCODER)
        client.subscription = self.streams.subscription(
            client.outlet,
            parse(f"/stream/{NAME}"),
            start,
            prefetch=self.random.choice((1, 2, 3, 100)),
            overflow="block",
            valve=None,
            patient=True,
        )
        self.clients.append(client)
        client.subscription.start().addBoth(client.subscribed)

    def unsubscribe(self) -> None:
        if len(self.clients) > 3:
            client = self.clients.pop(self.random.randrange(len(self.clients)))
            client.subscription.end()
            heard = list(client.outlet.heard)
            self.broker_steps()
            self.link.read()
            assert client.outlet.heard == heard, "it heard something after the end"

    def broker_steps(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            busy = [each for each in self.link.consumers if each.to_broker]
            if busy and self.link.up:
                self.random.choice(busy).broker_step()

    def read(self) -> None:
        consumers = [each for each in self.link.consumers if each.to_client]
        picked = [each for each in consumers for _ in range(self.random.randint(0, 4))]
        self.random.shuffle(picked)
        self.link.read(picked)

    def drain_socket(self) -> None:
        if self.clients:
            client = self.random.choice(self.clients)
            client.outlet.room = client.room
            client.subscription.writable()

    def stall_socket(self) -> None:
        if self.clients:
            self.random.choice(self.clients).outlet.room = 0

    def lose(self) -> None:
        if self.link.up:
            self.link.lose()
        else:
            self.link.recovering = self.random.random() < 0.3
            self.link.reconnect()

    def recover(self) -> None:
        self.link.recover()

    def wait(self) -> None:
        self.clock.advance(self.random.choice((0, 0.1, 0.3, 1.1)))

    def truncate(self) -> None:
        if NAME in self.link.streams and not self.renews:
            self.link.streams[NAME].truncate(self.random.randint(1, 4))

    def renew(self) -> None:
        if self.renewals > 0 and NAME in self.link.streams:
            # Two in one breath, and who reads further than the shared end took only one: that
            # can't be told.
            self.renewals -= 1
            self.was_anew = True
            self.link.delete(NAME)
            for _ in range(self.random.randint(0, 2)):
                self.broker_steps()
                self.read()
                self.drain_socket()
            self.link.make(NAME)

    ACTIONS: tuple[tuple[int, Callable[[Any], None]], ...] = (
        (6, publish),
        (2, subscribe),
        (1, unsubscribe),
        (12, broker_steps),
        (12, read),
        (4, drain_socket),
        (3, stall_socket),
        (2, lose),
        (3, wait),
        (1, recover),
        (1, truncate),
        (1, renew),
    )

    def run(self, steps: int) -> None:
        actions = [action for weight, action in self.ACTIONS for _ in range(weight)]
        renews = self.renews
        for _ in range(2):
            self.renewals = 1 if renews else 0
            for _ in range(steps):
                self.random.choice(actions)(self)
            self.rest()
        self.link.publish(NAME, 2, time=int(self.clock.seconds()))
        self.rest()

    def rest(self) -> None:
        """All sockets drain, the link is up, and nothing happens for a while."""
        if not self.link.up:
            self.link.reconnect()
        self.link.recover()
        for _ in range(40):
            self.link.settle()
            for client in self.clients:
                client.outlet.room = client.room = 1 << 30
                client.subscription.writable()
            self.clock.advance(0.26)
            self.link.settle()

    # -- what must be

    def check(self) -> None:
        for client in self.clients:
            if self.was_anew and client.answers != [None]:
                assert client.answers[0].value.code == "not_found", client.answers
                continue
            assert client.answers == [None], (client.answers, client.start)
            assert client.outlet.over == [], client.outlet.over
            if self.was_anew:
                self.check_end(client)
            else:
                self.check_client(client)

    def check_end(self, client: Client) -> None:
        """What comes after the last word of a new stream is all of it."""
        log, heard = self.link.streams[NAME], client.log()
        words = [at for at, each in enumerate(heard) if each[0] == "gap" and each[2] <= each[1]]
        expected = None
        if words:
            expected = heard[words[-1]][2]
            heard = heard[words[-1] + 1 :]
        offsets: list[int] = []
        for what, first, second in heard:
            if what == "message":
                assert first == log.generation, ("of another stream", client.start, client.log())
                offsets.append(second)
            else:
                expected = None
        if expected is not None:
            first = min(each for each in log.offsets if each >= expected)
            if client.start.where != "timestamp":
                assert offsets[:1] == [first], ("not what was said", client.log())
        assert offsets, ("nothing", client.start, client.subscription.state, client.log())
        wanted = [each for each in log.offsets if each >= offsets[0]]
        assert offsets == wanted, ("missed", wanted, client.start, client.log())

    def check_client(self, client: Client) -> None:
        log = self.link.streams[NAME]
        heard = client.log()
        position: int | None = None
        generation = 0
        told = False
        for what, first, second in heard:
            if what == "gap" and position is None and client.start.where == "timestamp":
                continue  # of messages that it did not ask for, as far as is known
            if what == "gap":
                assert position is None or first <= position + 1, "the gap begins too late"
                if second <= first:
                    assert self.was_anew or client.start.where == "offset", heard
                    position, generation, told = second - 1, 0, True
                else:
                    assert position is None or second > position, heard
                    position, told = second - 1, True
                continue
            assert generation in (0, first), ("of another stream, untold", client.start, heard)
            if position is not None:
                assert second > position, ("twice", client.start, heard)
                between = [each for each in log.offsets if position < each < second]
                if first == log.generation:
                    assert not between, ("missed", between, client.start, heard)
            position, generation = second, first
        last = [each for each in heard if each[0] == "message"][-1:]
        assert last == [("message", log.generation, log.offsets[-1])], (
            "missed the end",
            client.start,
            log.generation,
            log.offsets,
            heard,
        )
        if client.start == Start("first") and not told:
            beginning = [each[2] for each in heard if each[1] == log.generation]
            assert set(log.offsets) <= set(beginning), ("missed the beginning", heard)

    def end(self) -> None:
        for client in self.clients:
            client.subscription.end()
        self.streams.stop()
        self.reads.stop()
        assert self.clock.getDelayedCalls() == [], self.clock.getDelayedCalls()
        self.link.settle()
        assert self.link.consumers == [], "a consumer was left"


class StreamsModelTests(SynchronousTestCase):
    """Sockets that stall, reads in any pieces, a link that comes and goes, late clients."""

    def run_world(self, seed: int, renews: bool) -> None:
        world = World(seed, renews)
        world.run(120)
        world.check()
        world.end()
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.integers(0, 2**32))
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def test_everybody_gets_each_message_once_and_in_order_or_is_told_of_the_gap(
        self, seed: int
    ) -> None:
        self.run_world(seed, renews=False)

    @given(st.integers(0, 2**32))
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def test_whoever_read_a_stream_that_was_made_anew_is_told_and_gets_all_of_the_new_one(
        self, seed: int
    ) -> None:
        self.run_world(seed, renews=True)
