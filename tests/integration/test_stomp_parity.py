"""Web STOMP and twbridge on one RabbitMQ: the same is said to both, and what is heard compared."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.bridge import Bridge
from tests.integration.bridge_cases import blameless
from tests.integration.rabbitmq import Node
from tests.integration.stomp_acks import ACKS, DURABLE, STREAMS
from tests.integration.stomp_differences import DIFFERENCES, ELSEWHERE, LEFT_BEHIND, TABLE
from tests.integration.stomp_scenarios import CONNECTING, FRAMES, frame
from tests.integration.stomp_sending import DESTINATIONS, HEADERS, REPLIES, TRANSACTIONS
from tests.integration.stomp_subscribing import SUBSCRIBING
from tests.integration.stomp_transcripts import Listener, Play, difference, transcripts

PAGE = Path(__file__).parents[2] / "docs" / "stomp.md"
SCENARIOS = (
    *CONNECTING,
    *FRAMES,
    *DESTINATIONS,
    *HEADERS,
    *TRANSACTIONS,
    *REPLIES,
    *SUBSCRIBING,
    *ACKS,
    *DURABLE,
    *STREAMS,
)
NAMES = {scenario.name for scenario in SCENARIOS}


class TableTests(SynchronousTestCase):
    def test_every_scenario_has_a_name_of_its_own(self) -> None:
        self.assertEqual(len(NAMES), len(SCENARIOS))

    def test_every_difference_is_of_a_scenario(self) -> None:
        self.assertEqual(set(DIFFERENCES) - NAMES, set())

    def test_every_row_of_the_table_is_seen_in_a_scenario(self) -> None:
        seen = {each.why for found in DIFFERENCES.values() for each in found}
        self.assertEqual(seen, set(TABLE) - ELSEWHERE)

    def test_the_page_has_the_same_rows(self) -> None:
        section = PAGE.read_text().partition("## What differs")[2].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("|")][2:]
        self.assertEqual([row.split(" | ")[0].removeprefix("| ") for row in rows], [*TABLE])


class ParityTests(SynchronousTestCase):
    node: Node
    bridge: Bridge
    web_stomp: str
    theirs: Mapping[str, Play]
    ours: Mapping[str, Play]

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = Node(plugins=["rabbitmq_web_stomp"])
        cls.bridge = Bridge("--amqp-url", cls.node.url())
        try:
            cls.node.start()
            cls.bridge.start()
            amqp = cls.node.url()
            cls.web_stomp = f"ws://127.0.0.1:{cls.node.ports['web_stomp']}/ws"
            with ThreadPoolExecutor(2) as pool:
                theirs = pool.submit(transcripts, SCENARIOS, cls.web_stomp, amqp)
                ours = pool.submit(transcripts, SCENARIOS, cls.bridge.url("/stomp"), amqp, True)
                cls.theirs, cls.ours = theirs.result(), ours.result()
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

    def test_everything_but_the_table_is_the_same(self) -> None:
        wrong = []
        for scenario in SCENARIOS:
            name = scenario.name
            theirs, ours = self.theirs[name].lines, self.ours[name].lines
            known = DIFFERENCES.get(name, ())
            expected = (
                sorted(line for each in known for line in each.theirs),
                sorted(line for each in known for line in each.ours),
            )
            found = difference(theirs, ours)
            if found != expected or (not known and theirs != ours):
                wrong.append(_report(name, expected, found, theirs, ours))
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_every_error_is_whole_and_the_end(self) -> None:
        wrong = []
        errors = 0
        for name, play in self.ours.items():
            for listener in play.listeners.values():
                for error in listener.errors:
                    errors += 1
                    complaint = _complaint(listener, error.body.decode())
                    if complaint:
                        wrong.append(f"{name}: {complaint}")
        self.assertEqual(wrong, [], "\n".join(wrong))
        self.assertGreater(errors, 50)

    def test_the_same_queues_are_left_at_the_broker(self) -> None:
        """But those that are gone a minute later."""
        deadline = time.monotonic() + 10.0
        while (different := self.different()) != LEFT_BEHIND and time.monotonic() < deadline:
            pass  # what goes with its connection goes some time after it
        self.assertEqual(different, LEFT_BEHIND)

    def different(self) -> set[str]:
        """The scenarios that have left other queues on one of the two."""
        columns = ("name", "durable", "exclusive", "auto_delete", "arguments")
        rows = [str(list(row.values())) for row in self.node.list("queues", *columns)]
        # RabbitMQ takes numbers of any width for the same.
        rows = [row.replace("signedint", "long") for row in rows if "x-expires" not in row]
        different = set()
        for name, play in self.ours.items():
            theirs, ours = (
                sorted(row.replace(each.word, "<x>") for row in rows if each.word in row)
                for each in (self.theirs[name], play)
            )
            if theirs != ours:
                different.add(name)
        return different

    def test_durable_subscriptions_move_with_their_messages(self) -> None:
        """There and back: the queues have RabbitMQ's names."""
        hello = frame("CONNECT", "accept-version:1.2", "login:guest", "passcode:guest")
        words = ("destination:/topic/moving.*", "durable:true", "auto-delete:false", "id:mover")
        mine = frame("SUBSCRIBE", *words, "receipt:r")
        others = frame("SEND", "destination:/topic/moving.on", "receipt:s", body="%s")
        got = []
        for number, url in enumerate((self.web_stomp, self.bridge.url("/stomp"), self.web_stomp)):
            with Listener(url) as listener:
                listener.say(hello + mine)
                listener.hear(3 if number else 2)
                got.append([each.body.decode() for each in listener.messages])
                listener.leave()
            with Listener(self.bridge.url("/stomp")) as other:
                other.say(hello + others.replace("%s", f"{number}"))
                self.assertEqual(other.hear(2)[1], "RECEIPT receipt-id=s")
        self.assertEqual(got, [[], ["0"], ["1"]])

    def test_a_commit_may_be_answered_in_one_message(self) -> None:
        """The row of the table that no transcript shows."""
        hello = frame("CONNECT", "accept-version:1.2")
        with Listener(self.bridge.url("/stomp")) as listener:
            send = frame("SEND", "destination:/topic/moved", "transaction:t", "receipt:one")
            commit = frame("COMMIT", "transaction:t", "receipt:all")
            listener.say(hello + frame("BEGIN", "transaction:t") + send + commit)
            self.assertEqual(
                listener.hear(3)[1:], ["RECEIPT receipt-id=one", "RECEIPT receipt-id=all"]
            )
            self.assertEqual(listener.most, 2)


def _complaint(listener: Listener, text: str) -> str:
    if listener.end is None:
        return "it was not closed"
    code, reason = listener.end
    if not 1000 < code < 5000 or code in (1005, 1006):
        return f"closed with {code}"
    if not text or not reason or not text.startswith(reason):
        return f"closed with {reason!r} for {text!r}"
    if re.search(r"T_|Q_|Traceback|twbridge\.", text):
        return f"it tells of our inside: {text}"
    return ""


def _report(name: str, expected: object, found: object, theirs: object, ours: object) -> str:
    words = {"expected": expected, "found": found, "theirs": theirs, "ours": ours}
    return "\n".join([name, *(f"  {what:9}{lines}" for what, lines in words.items())])
