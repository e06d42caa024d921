"""``twbridge sub`` and ``twbridge pub``: what they take, and how they show a message."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import datetime
from typing import Any

from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.cli import main
from twbridge.cli.messages import value_of
from twbridge.cli.subscribing import readable
from twbridge.cli.talk import End, end_of
from twbridge.client import Message, NotConnected, Refused
from twbridge.client.frames import read
from twbridge.errors import (
    ConfirmTimeout,
    Forbidden,
    Nacked,
    NotReady,
    OutcomeUnknown,
    TwbridgeError,
    Unroutable,
)

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456)


class UsageTests(SynchronousTestCase):
    """Exit code 2, and one line that says why, before anything is connected."""

    def refused(self, *arguments: str, given: str = "") -> str:
        result: Result = CliRunner().invoke(main, arguments, input=given)
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertEqual(result.stdout, "")
        return result.stderr

    def test_a_destination_outside_the_grammar(self) -> None:
        for command in (("sub",), ("pub",)):
            self.assertIn("is not a destination", self.refused(*command, "/nowhere"))
        self.assertIn("is not a destination", self.refused("sub", "/topic/a", "b"))

    def test_no_destination(self) -> None:
        for command in ("sub", "pub"):
            self.assertIn("Missing argument", self.refused(command))

    def test_a_start_that_makes_no_sense_or_has_no_stream(self) -> None:
        self.assertIn("offset=N", self.refused("sub", "/stream/s", "--from", "second"))
        self.assertIn("/stream", self.refused("sub", "/topic/a", "--from", "first"))

    def test_a_destination_that_is_named_twice(self) -> None:
        self.assertIn("twice", self.refused("sub", "/topic/a", "/topic/a"))

    def test_numbers_out_of_range(self) -> None:
        for option in ("--count", "--prefetch", "--timeout"):
            self.assertIn(option, self.refused("sub", "/topic/a", option, "0"))
        self.assertIn("--timeout", self.refused("pub", "/topic/a", "x", "--timeout", "-1"))

    def test_a_body_that_is_none(self) -> None:
        self.assertIn("not JSON", self.refused("pub", "/topic/a", "--json", "{"))
        self.assertIn("not JSON", self.refused("pub", "/topic/a", "--json", given="[1,"))
        self.assertIn("does not exist", self.refused("pub", "/topic/a", "--file", "/none"))

    def test_what_excludes_each_other(self) -> None:
        for options in (
            ("x", "--json", "--text"),
            ("x", "--file", __file__),
            ("x", "--lines"),
            ("--json", "--file", __file__),
            ("--lines", "--id", "1"),
        ):
            self.refused("pub", "/topic/a", *options)

    def test_an_id_is_one_of_a_client(self) -> None:
        self.assertIn("--client", self.refused("pub", "/topic/a", "x", "--id", "1"))

    def test_headers_and_properties(self) -> None:
        self.assertIn("NAME=VALUE", self.refused("pub", "/topic/a", "x", "--header", "h"))
        for wrong, word in (("h=1", "none of content_type"), ("priority=x", "whole number")):
            self.assertIn(word, self.refused("pub", "/topic/a", "x", "--property", wrong))

    def test_both_are_in_the_help(self) -> None:
        for command in ("sub", "pub"):
            result = CliRunner().invoke(main, [command, "--help"])
            self.assertEqual(result.exit_code, 0)
            self.assertIn("TWBRIDGE_URL", result.stdout)
            self.assertIn("Exit codes", result.stdout)


class BodyTests(SynchronousTestCase):
    """What is published of bytes."""

    def test_text_where_it_is_utf_8_and_bytes_where_it_is_not(self) -> None:
        self.assertEqual(value_of("é\n".encode(), as_json=False, as_text=False), "é\n")
        self.assertEqual(value_of(b"\xff", as_json=False, as_text=False), b"\xff")

    def test_text_that_is_none_is_refused(self) -> None:
        self.assertEqual(value_of(b"x", as_json=False, as_text=True), "x")
        self.assertRaises(ValueError, value_of, b"\xff", as_json=False, as_text=True)

    def test_json_stays_as_it_was_written(self) -> None:
        data = b'{"a": 1.10e400}'
        self.assertEqual(value_of(data, as_json=True, as_text=False), data)
        for wrong in (b"{", b"\xff", b"", b"[" * 100_000):
            self.assertRaises(ValueError, value_of, wrong, as_json=True, as_text=False)


class LineTests(SynchronousTestCase):
    """A message on one line."""

    def line(self, *, headers: bool = False, **fields: Any) -> str:
        fields = {"op": "message", "destination": "/topic/#", "routing_key": "a.b"} | fields
        payload = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
        frame = read(payload)
        assert frame is not None
        message = Message(frame, payload, 1, lambda *_: False)
        return readable(message, headers=headers, now=NOON)

    def test_live_ones_have_their_routing_key(self) -> None:
        self.assertEqual(self.line(body="hello"), "12:00:00.123 a.b hello")
        self.assertEqual(self.line(body="x", routing_key=""), "12:00:00.123 /topic/# x")

    def test_others_have_their_destination_and_their_offset(self) -> None:
        line = self.line(destination="/queue/q", body="x", redelivered=True)
        self.assertEqual(line, "12:00:00.123 /queue/q (redelivered) x")
        line = self.line(destination="/stream/s", body="x", offset=7)
        self.assertEqual(line, "12:00:00.123 /stream/s@7 x")

    def test_headers_where_they_are_wanted(self) -> None:
        self.assertEqual(self.line(body="x", headers=True), "12:00:00.123 a.b {} x")

    def test_json_is_compact_and_bytes_are_base64(self) -> None:
        kind = {"content_type": "application/json"}
        self.assertEqual(
            self.line(body={"a": [1, "é"]}, properties=kind), '12:00:00.123 a.b {"a":[1,"é"]}'
        )
        self.assertEqual(self.line(body="text", properties=kind), '12:00:00.123 a.b "text"')
        self.assertEqual(self.line(base64="/wA="), "12:00:00.123 a.b base64:/wA=")

    def test_the_terminal_is_left_alone(self) -> None:
        line = self.line(body="a\nb\tc\x1b[2Jd\r\x07\x9b\u2028", routing_key="k\x1b")
        self.assertEqual(line, "12:00:00.123 k\\x1b a\\nb\tc\\x1b[2Jd\\r\\x07\\x9b\\u2028")

    @given(st.text(), st.text())
    def test_any_text_is_one_line(self, body: str, key: str) -> None:
        line = self.line(body=body, routing_key=key)
        self.assertEqual(len(line.splitlines()), 1)


_INTERRUPTED = """
import os, signal
from twisted.internet.defer import succeed
from twisted.internet.task import deferLater
from twbridge.cli.talk import run
class Command:
    async def talk(self, reactor):
        await deferLater(reactor, 0)
        os.kill(os.getpid(), {signal})
    def stop(self):
        return succeed(None)
run(Command())
"""


class EndTests(SynchronousTestCase):
    """Exit codes."""

    def test_a_signal_at_the_very_end_is_no_success(self) -> None:
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            said = subprocess.run(
                [sys.executable, "-c", _INTERRUPTED.format(signal=int(number))],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                # As a shell does it: what runs in the background ignores SIGINT.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
            self.assertEqual((said.returncode, said.stderr), (code, ""))

    def test_refusals_are_1_and_what_is_away_or_late_is_3(self) -> None:
        stay_away = NotConnected("no", closed=4503)
        not_found = NotConnected("no", status=404)
        busy, lost = NotConnected("no", status=429), NotConnected("no")
        for reason in (not_found, busy, lost):
            reason.retry_in = 1.0
        cases: list[tuple[TwbridgeError, int]] = [
            (Forbidden("no"), 1),
            (Unroutable(312, "no"), 1),
            (Nacked("no"), 1),
            (Refused("rate_limited", "no"), 1),
            (stay_away, 1),
            (not_found, 1),
            (busy, 3),
            (lost, 3),
            (NotReady("no"), 3),
            (ConfirmTimeout("no"), 3),
            (OutcomeUnknown("no"), 3),
        ]
        for error, code in cases:
            end = end_of(error)
            self.assertIsInstance(end, End)
            self.assertEqual(end.code, code, error)
            self.assertTrue(end.line.endswith("no"))
            if not isinstance(error, NotConnected):
                self.assertEqual(end.line, f"{error.code}: no")
