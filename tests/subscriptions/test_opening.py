"""Which subscription a command asks for, and which it can't have."""

from __future__ import annotations

from itertools import product
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeLink, FakeOutlet, delivery
from twbridge.commands import Subscribe
from twbridge.destinations import parse
from twbridge.errors import BadDestination, BadFrame, ChannelClosed, TwbridgeError
from twbridge.hub import Hub
from twbridge.link.topology import Queue
from twbridge.starts import Start
from twbridge.subscriptions.live import LiveSubscription
from twbridge.subscriptions.opening import Subscriptions
from twbridge.subscriptions.queue import QueueSubscription
from twbridge.subscriptions.stream import StreamSubscription

LIVE, QUEUE, STREAM = "/topic/a", "/queue/a", "/stream/a"
MISSING = ChannelClosed(404, "NOT_FOUND")
OVERFLOWS = (None, "close", "drop-oldest", "latest", "block")


class OpeningCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.hub = Hub(self.link, self.clock)
        self.subscriptions = Subscriptions(self.link, self.clock, self.hub, instance="node")
        self.outlet = FakeOutlet()

    def tearDown(self) -> None:
        self.subscriptions.stop()
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def command(self, text: str, **more: Any) -> Subscribe:
        return Subscribe("s", parse(text), **more)


class PlainTests(OpeningCase):
    """What may be asked for."""

    def refusal(self, text: str, **more: Any) -> str:
        try:
            self.subscriptions.is_plain(self.command(text, **more), 1000)
        except TwbridgeError as error:
            self.assertIsInstance(error, BadFrame | BadDestination)
            return error.public
        return ""

    def test_only_live_ones_that_close_are_a_place_in_the_hub(self) -> None:
        plain = [
            (text, ack, overflow)
            for text, ack, overflow in product(
                (LIVE, "/exchange/x/k", QUEUE, "/amq/queue/a", STREAM),
                ("auto", "client"),
                OVERFLOWS,
            )
            if not self.refusal(text, ack=ack, overflow=overflow)
            and self.subscriptions.is_plain(self.command(text, ack=ack, overflow=overflow), 1000)
        ]
        self.assertEqual(plain, list(product((LIVE, "/exchange/x/k"), ("auto",), (None, "close"))))

    def test_each_kind_has_its_overflow_policies(self) -> None:
        for text, ack, allowed in (
            (LIVE, "auto", "close drop-oldest latest"),
            (LIVE, "client", "block"),
            (QUEUE, "auto", "close drop-oldest latest block"),
            ("/amq/queue/a", "auto", "close drop-oldest latest block"),
            (QUEUE, "client", "close block"),
            (STREAM, "auto", "close drop-oldest latest block"),
        ):
            found = [
                overflow
                for overflow in OVERFLOWS
                if not self.refusal(text, ack=ack, overflow=overflow)
            ]
            self.assertEqual(found, [None, *allowed.split()], (text, ack))

    def test_refusals_are_one_clear_sentence(self) -> None:
        start = Start("first")
        for sentence, text, more in (
            (
                "The overflow of a live subscription is close or drop-oldest or latest.",
                LIVE,
                {"overflow": "block"},
            ),
            (
                "The overflow of a live subscription with acks is block.",
                LIVE,
                {"ack": "client", "overflow": "close"},
            ),
            (
                "The overflow of a queue with acks is block or close.",
                QUEUE,
                {"ack": "client", "overflow": "latest"},
            ),
            (
                "There is no from in a live subscription: only streams keep what is past.",
                LIVE,
                {"start": start},
            ),
            (
                "There is no from in a queue: only streams keep what is past.",
                QUEUE,
                {"start": start},
            ),
            (
                "There is no prefetch in a live subscription: nothing is acknowledged.",
                LIVE,
                {"prefetch": 1},
            ),
            ("A prefetch is a whole number from 1 to 1000.", QUEUE, {"prefetch": 0}),
            ("A prefetch is a whole number from 1 to 1000.", STREAM, {"prefetch": 1001}),
            (
                "A stream is read by offset: there is nothing to acknowledge.",
                STREAM,
                {"ack": "client"},
            ),
            ("Nobody can subscribe to a /temp-queue destination.", "/temp-queue/a", {}),
            ("Nobody can subscribe to a /reply-queue destination.", "/reply-queue/a", {}),
            ("Nobody can subscribe to a /task destination.", "/task/a", {}),
        ):
            self.assertEqual(self.refusal(text, **more), sentence)

    def test_the_limits_of_a_prefetch_are_allowed(self) -> None:
        for text, more in ((QUEUE, {}), (STREAM, {}), (LIVE, {"ack": "client"})):
            for prefetch in (1, 1000):
                self.assertEqual(self.refusal(text, prefetch=prefetch, **more), "")


class OpenTests(OpeningCase):
    """What is made of it."""

    def open(self, text: str, **more: Any) -> Any:
        return self.subscriptions.open(self.command(text, **more), self.outlet)

    def test_a_live_one_that_drops(self) -> None:
        for overflow in ("drop-oldest", "latest"):
            found = self.open(LIVE, overflow=overflow)
            self.assertIsInstance(found, LiveSubscription)
            self.successResultOf(found.start())
            found.end()

    def test_a_live_one_with_acks_has_a_queue_of_its_own(self) -> None:
        names = []
        for _ in range(2):
            found = self.open(LIVE, ack="client", prefetch=3)
            self.assertIsInstance(found, QueueSubscription)
            self.successResultOf(found.start())
            consumer = self.link.consumers[-1]
            names.append(consumer.queue.name)
            self.assertEqual(consumer.bindings, [("amq.topic", "a")])
            self.assertEqual(consumer.options["prefetch"], 3)
            found.end()
        self.assertEqual(names, ["twbridge.subscription.node.1", "twbridge.subscription.node.2"])

    def test_a_queue(self) -> None:
        for text in (QUEUE, "/amq/queue/a"):
            found = self.open(text)
            self.assertIsInstance(found, QueueSubscription)
            self.successResultOf(found.start())
            consumer = self.link.consumers[-1]
            self.assertEqual((consumer.queue.name, consumer.options["prefetch"]), ("a", 20))
            found.end()

    def test_a_live_one_with_a_name_or_an_encoder_is_more_than_a_place(self) -> None:
        for more in ({"name": "x"}, {"encoder": self.outlet.encoder}):
            command = self.command(LIVE, **more)
            self.assertFalse(self.subscriptions.is_plain(command, 1000))
            found = self.subscriptions.open(command, self.outlet)
            self.assertIsInstance(found, LiveSubscription)
            self.successResultOf(found.start())
            self.link.consumers[0].deliver(delivery("a", b"1"))
            self.assertEqual(self.outlet.frames, [b"/topic/a a 1"])
            self.outlet.heard.clear()
            found.end()
            self.link.consumers[0].deliver(delivery("a", b"2"))
            self.assertEqual(self.outlet.frames, [])

    def test_a_queue_that_is_asked_for_is_used_as_it_is_or_made_and_stays(self) -> None:
        queue = Queue("mine", durable=True, exclusive=False, auto_delete=False)
        for text, bindings in ((LIVE, [("amq.topic", "a")]), (QUEUE, [])):
            command = self.command(text, queue=queue, prefetch=3)
            self.assertFalse(self.subscriptions.is_plain(command, 1000))
            for errors, passive in (([], [True]), ([MISSING], [True, False])):
                del self.link.consumers[:]
                self.link.consume_errors = list(errors)
                found = self.subscriptions.open(command, self.outlet)
                self.successResultOf(found.start())
                self.assertEqual([each.asked.passive for each in self.link.consumers], passive)
                consumer = self.link.consumers[-1]
                self.assertEqual((consumer.asked.name, consumer.bindings), ("mine", bindings))
                found.end()
                self.assertEqual((consumer.cancelled, consumer.deleted), (True, False))

    def test_one_without_a_name_is_the_brokers_to_name(self) -> None:
        queue = Queue("", durable=True, exclusive=False, auto_delete=False)
        found = self.open(LIVE, queue=queue)
        self.successResultOf(found.start())
        self.assertEqual([each.asked for each in self.link.consumers], [queue])
        found.end()

    def test_a_queue_for_answers_is_the_sessions_own(self) -> None:
        queue = Queue("twbridge.reply.x", durable=True, exclusive=False, auto_delete=False)
        found = self.open("/temp-queue/a", queue=queue)
        self.assertFalse(
            self.subscriptions.is_plain(self.command("/temp-queue/a", queue=queue), 1000)
        )
        self.successResultOf(found.start())
        found.end()
        self.assertTrue(self.link.consumers[0].deleted)

    def test_a_stream(self) -> None:
        found = self.open(STREAM, start=Start("first"), prefetch=7, overflow="latest")
        self.assertIsInstance(found, StreamSubscription)
        answer = found.start()
        self.clock.advance(0)
        self.successResultOf(answer)
        self.assertEqual(self.link.consumers[0].options["arguments"], {"x-stream-offset": "last"})
        found.end()

    def test_a_stream_begins_with_what_comes_next_unless_told_otherwise(self) -> None:
        found = self.open(STREAM)
        self.assertEqual(found._start, Start("next"))
        self.assertEqual(found._prefetch, 100)
