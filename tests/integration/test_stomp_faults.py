"""STOMP over the end of a broker: what was receipted is there, what comes again is marked."""

from __future__ import annotations

import threading
import uuid

from twisted.trial.unittest import SynchronousTestCase

from tests.integration import witness
from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import blameless
from tests.integration.rabbitmq import Node
from tests.integration.stomp_client import Listener
from tests.integration.stomp_scenarios import frame

_CONNECT = frame("CONNECT", "accept-version:1.2", "host:/")
TRANSACTION = 10


class FaultTests(SynchronousTestCase):
    node: Node
    bridge: Bridge

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = Node()
        cls.bridge = Bridge("--amqp-url", cls.node.url())
        try:
            cls.node.start()
            cls.bridge.start()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            if cls.bridge.running:
                assert cls.bridge.stop() == 0
                blameless(cls.bridge.log + cls.bridge.complaints)
        finally:
            cls.bridge.close()
            cls.node.close()

    def setUp(self) -> None:
        self.queue = f"test.{uuid.uuid4()}"
        witness.declare(self.node.url(), self.queue)
        self.node.sync()

    def connect(self) -> Listener:
        listener = Listener(self.bridge.url("/stomp"))
        self.addCleanup(listener.cut)
        listener.say(_CONNECT)
        self.assertEqual(len(listener.hear(1)), 1)
        return listener

    def send(self, body: str, *headers: str) -> str:
        head = [f"destination:/queue/{self.queue}", "persistent:true", *headers]
        return frame("SEND", *head, body=body)

    def restart(self) -> None:
        self.node.kill()
        self.node.start()
        self.bridge.until_ready()

    def left(self) -> list[str]:
        """What is in the queue."""
        return [body.decode() for _, body in witness.drain(self.node.url(), self.queue)]

    def test_what_was_not_acknowledged_comes_again_marked(self) -> None:
        listener = self.connect()
        for number in range(20):
            listener.say(self.send(f"{number}", f"receipt:{number}"))
        self.assertEqual(len(listener.hear(20)), 20)
        listener.say(
            frame(
                "SUBSCRIBE",
                "id:1",
                f"destination:/queue/{self.queue}",
                "ack:client-individual",
                "prefetch-count:10",
            )
        )
        listener.hear(10)
        before = list(listener.messages)
        for message in before[:5]:
            listener.say(frame("ACK", f"id:{message.headers['ack']}", "receipt:acked"))
        listener.hear(10)
        before = list(listener.messages)
        self.restart()
        # The subscription goes on. What was acknowledged just before the end may come, too.
        again: dict[str, str] = {}
        while {f"{number}" for number in range(5, 20)} - set(again):
            self.assertEqual(len(listener.hear(1, 15.0)), 1)
            for message in listener.messages[len(before) + len(again) :]:
                again[message.body.decode()] = message.headers["redelivered"]
                listener.say(frame("ACK", f"id:{message.headers['ack']}"))
        for message in before[5:]:
            self.assertEqual(again[message.body.decode()], "true")
        # An ACK of a delivery of the connection that is gone does no harm.
        listener.say(frame("ACK", f"id:{before[9].headers['ack']}"))
        listener.say(frame("BEGIN", "transaction:end", "receipt:end"))
        while listener.hear(1) != ["RECEIPT receipt-id=end"]:
            self.assertIsNone(listener.end)

    def test_a_commit_that_was_receipted_is_whole(self) -> None:
        """Transactions are committed as fast as they are answered while the broker is killed."""
        committed: list[int] = []
        listener = self.connect()
        ended = threading.Event()

        def commit() -> None:
            for number in range(100_000):
                name = f"transaction:{number}"
                sends = [self.send(f"{number}.{each}", name) for each in range(TRANSACTION)]
                end = frame("COMMIT", name, f"receipt:{number}")
                listener.say("".join([frame("BEGIN", name), *sends, end]))
                if listener.hear(1, 30.0) != [f"RECEIPT receipt-id={number}"]:
                    break
                committed.append(number)
            ended.set()

        thread = threading.Thread(target=commit)
        thread.start()
        while len(committed) < 20 and not ended.is_set():
            ended.wait(0.01)
        self.node.kill()
        self.assertTrue(ended.wait(30.0))
        thread.join()
        self.node.start()
        self.bridge.until_ready()
        (error,) = listener.errors
        self.assertEqual(error.headers["receipt-id"], f"{len(committed)}")
        found = self.left()
        expected = {f"{number}.{each}" for number in committed for each in range(TRANSACTION)}
        self.assertEqual(expected - set(found), set())
        # Of the one that was not answered some may be there, once; of none behind it any.
        more = [body for body in found if body not in expected]
        self.assertEqual({body.split(".")[0] for body in more} - {f"{len(committed)}"}, set())
        self.assertEqual(len(found), len(set(found)))

    def test_who_may_have_missed_messages_is_told_and_who_can_not_have_goes_on(self) -> None:
        live, safe = self.connect(), self.connect()
        queue = f"destination:/queue/{self.queue}"
        for listener, head in (
            (live, [["id:1", queue], ["id:2", "destination:/topic/faults.#"]]),
            (safe, [["id:1", queue]]),
        ):
            for headers in head:
                listener.say(frame("SUBSCRIBE", *headers, "receipt:subscribed"))
                self.assertEqual(listener.hear(1), ["RECEIPT receipt-id=subscribed"])
        self.node.ctl("close_all_connections", "--global", "tests: why not")
        self.assertEqual(live.hear(2, 15.0), ["ERROR Messages missed"])
        (error,) = live.errors
        self.assertEqual(error.headers["subscription"], "2")
        self.assertEqual(live.end, (1013, error.body.decode()))
        self.assertIn(b"/topic/faults.#", error.body)
        # It comes back and is heard at once; the other's subscription has never ended.
        again = self.connect()
        again.say(frame("SUBSCRIBE", "id:2", "destination:/topic/faults.#", "receipt:again"))
        self.assertEqual(again.hear(1, 15.0), ["RECEIPT receipt-id=again"])
        again.say(frame("SEND", "destination:/topic/faults.x", body="live"))
        again.say(self.send("queued"))
        again.hear(1, 15.0)
        self.assertEqual([each.body for each in again.messages], [b"live"])
        safe.hear(1, 15.0)
        self.assertEqual([each.body for each in safe.messages], [b"queued"])
        self.assertIsNone(safe.end)

    def test_what_was_not_committed_is_nowhere(self) -> None:
        listener = self.connect()
        listener.say(frame("BEGIN", "transaction:t"))
        listener.say(self.send("kept", "transaction:t", "receipt:kept"))
        listener.say(frame("BEGIN", "transaction:other", "receipt:begun"))
        self.assertEqual(listener.hear(1), ["RECEIPT receipt-id=begun"])
        self.restart()
        self.assertEqual(self.left(), [])
        listener.say(frame("COMMIT", "transaction:t", "receipt:all"))
        heard = listener.hear(2, 15.0)
        self.assertEqual(heard, ["RECEIPT receipt-id=kept", "RECEIPT receipt-id=all"])
        self.assertEqual(self.left(), ["kept"])
