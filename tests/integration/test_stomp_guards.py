"""What one STOMP client says ends the connection to the broker for nobody else."""

from __future__ import annotations

import time
import uuid
from itertools import product

import pika
from twisted.trial.unittest import SynchronousTestCase

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import blameless
from tests.integration.rabbitmq import Node, shared
from tests.integration.stomp_client import Listener
from tests.integration.stomp_scenarios import frame

_CONNECT = frame("CONNECT", "accept-version:1.2", "host:/")
_BIG = 2**63 - 1
_TEN_YEARS = 315_360_000_000
_NONSENSE = ("nonsense", "", "-1", f"{_BIG + 1}", "1.5", "é" * 128, r"a\nb")
#: No more than AMQP can carry, and all that a queue can be made with.
_MOST = {
    "x-expires": _TEN_YEARS,
    "x-message-ttl": _TEN_YEARS,
    "x-max-length": _BIG,
    "x-max-length-bytes": _BIG,
    "x-dead-letter-exchange": "d" * 255,
    "x-dead-letter-routing-key": "k" * 255,
}
_WRONG = (
    *product(("x-queue-type",), (*_NONSENSE, "stream", "Quorum", "undefined")),
    *product(("x-expires", "x-message-ttl"), (*_NONSENSE, f"{_TEN_YEARS + 1}")),
    *product(("x-max-length", "x-max-length-bytes"), _NONSENSE),
    *product(("x-max-priority",), (*_NONSENSE, "256")),
    *product(("x-dead-letter-exchange", "x-dead-letter-routing-key"), ("x" * 256, "é" * 128)),
)


class GuardTests(SynchronousTestCase):
    node: Node
    bridge: Bridge

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = shared()
        cls.bridge = Bridge("--amqp-url", cls.node.url())
        try:
            cls.bridge.start()
        except BaseException:
            cls.bridge.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            assert cls.bridge.stop() == 0
            blameless(cls.bridge.log + cls.bridge.complaints)
        finally:
            cls.bridge.close()

    def setUp(self) -> None:
        self.word = f"test.{uuid.uuid4()}"

    def tearDown(self) -> None:
        self.assertNotIn("is away", self.bridge.log)

    def connect(self) -> Listener:
        listener = Listener(self.bridge.url("/stomp"))
        self.addCleanup(listener.cut)
        listener.say(_CONNECT)
        self.assertEqual(len(listener.hear(1)), 1)
        return listener

    def says(self, command: str, *headers: str) -> str:
        """What a client of its own hears when it says that."""
        listener = self.connect()
        listener.say(frame(command, "id:1", "receipt:r", *headers))
        [heard] = listener.hear(1)
        listener.leave()
        return heard

    def test_nonsense_in_the_arguments_of_queues_is_refused(self) -> None:
        for name, value in _WRONG:
            for command, kind in (
                ("SUBSCRIBE", "topic"),
                ("SUBSCRIBE", "queue"),
                ("SEND", "queue"),
            ):
                if value == "stream" and kind == "queue":
                    continue  # that asks for a stream that is there
                said = self.says(command, f"destination:/{kind}/{self.word}", f"{name}:{value}")
                self.assertEqual(said, "ERROR Invalid frame", (command, kind, name, value))
        self.assertIsNone(witness.counts(self.node.url(), self.word))

    def test_headers_that_are_no_arguments_are_not_looked_at(self) -> None:
        for name in ("x-overflow", "x-max-age", "x-queue-mode", "x-priority", "x-foo"):
            said = self.says("SUBSCRIBE", f"destination:/topic/{self.word}", f"{name}:nonsense")
            self.assertEqual(said, "RECEIPT receipt-id=r", name)

    def test_the_most_that_is_allowed_can_be_had(self) -> None:
        arguments = [f"{name}:{value}" for name, value in _MOST.items()]
        for kind in ("classic", "quorum"):
            queue = f"{self.word}.{kind}"
            self.addCleanup(witness.delete, self.node.url(), queue)
            said = self.says(
                "SUBSCRIBE", f"destination:/queue/{queue}", f"x-queue-type:{kind}", *arguments
            )
            self.assertEqual(said, "RECEIPT receipt-id=r", kind)
            self.assertIsNotNone(witness.counts(self.node.url(), queue))

    def test_what_rabbitmq_refuses_is_told_for_what_it_is(self) -> None:
        for wrong in (
            ("x-queue-type:quorum", "x-max-priority:3"),
            ("x-dead-letter-routing-key:k",),
        ):
            said = self.says("SUBSCRIBE", f"destination:/queue/{self.word}", *wrong)
            self.assertEqual(said, "ERROR precondition_failed", wrong)

    def test_nobody_reads_or_makes_up_a_direct_reply_to(self) -> None:
        for name in ("", ".a.b", ".g1h2AAlyZXBseUAxMjMAAAPoAAAAAAAAAAE=.a2V5"):
            address = f"amq.rabbitmq.reply-to{name}"
            for command, *headers in (
                ("SUBSCRIBE", f"destination:/queue/{address}"),
                ("SUBSCRIBE", f"destination:/amq/queue/{address}"),
                ("SUBSCRIBE", f"destination:/topic/{self.word}", f"x-queue-name:{address}"),
                (
                    "SUBSCRIBE",
                    f"destination:/topic/{self.word}",
                    "x-dead-letter-exchange:",
                    f"x-dead-letter-routing-key:{address}",
                ),
                ("SEND", f"destination:/queue/{address}"),
                ("SEND", f"destination:/reply-queue/{address}"),
                ("SEND", f"destination:/topic/{self.word}", f"reply-to:{address}"),
            ):
                self.assertEqual(self.says(command, *headers), "ERROR access_refused", headers)

    def test_a_line_break_hides_no_reserved_name(self) -> None:
        for headers in (
            ("destination:/queue/twbridge%0A.task.add",),
            ("destination:/queue/twbridge%0D.task.add",),
            (f"destination:/topic/{self.word}", r"x-queue-name:twbridge\n.task.add"),
        ):
            self.assertEqual(self.says("SUBSCRIBE", *headers), "ERROR access_refused", headers)

    def test_who_asks_with_a_direct_reply_to_is_answered(self) -> None:
        url, queue = self.node.url(), witness.declare(self.node.url(), self.word)
        self.addCleanup(witness.delete, url, queue)
        listener = self.connect()
        listener.say(frame("SUBSCRIBE", "id:1", f"destination:/queue/{queue}", "receipt:r"))
        self.assertEqual(listener.hear(1), ["RECEIPT receipt-id=r"])
        with witness.channel(url) as channel:
            answers: list[tuple[str | None, bytes]] = []
            channel.basic_consume(
                "amq.rabbitmq.reply-to",
                lambda _channel, _method, properties, body: answers.append(
                    (properties.correlation_id, body)
                ),
                auto_ack=True,
            )
            asked = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="7")
            channel.basic_publish("", queue, b"question", asked)
            listener.hear(1)
            [question] = listener.messages
            back = f"destination:{question.headers['reply-to']}"
            listener.say(frame("SEND", back, "correlation-id:7", "receipt:s", body="answer"))
            self.assertEqual(listener.hear(1), ["RECEIPT receipt-id=s"])
            deadline = time.monotonic() + 5.0
            while not answers and time.monotonic() < deadline:
                channel.connection.process_data_events(0.1)
            self.assertEqual(answers, [("7", b"answer")])
        listener.say(frame("SEND", back, "receipt:t", body="too late"))
        self.assertEqual(listener.hear(1), ["RECEIPT receipt-id=t"])
