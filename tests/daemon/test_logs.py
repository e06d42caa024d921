"""Log events: their level, their two forms, and their way to the bus."""

from __future__ import annotations

import json
import sys
from io import StringIO
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twbridge.bus import LOG, Bus
from twbridge.daemon.logs import BusObserver, json_line, json_observer, observer
from twbridge.settings import Log


class LogTestCase(SynchronousTestCase):
    """Has a publisher and a logger of its own."""

    def setUp(self) -> None:
        self.publisher = LogPublisher()
        self.log = Logger("test", observer=self.publisher)


class JsonTests(LogTestCase):
    """One object a line."""

    def test_an_event_is_one_line(self) -> None:
        file = StringIO()
        self.publisher.addObserver(json_observer(file))
        self.log.warn("two\nlines of {who}", who="caf\xe9")
        (line,) = file.getvalue().splitlines()
        event = json.loads(line)
        self.assertEqual(
            (event["level"], event["namespace"], event["message"]),
            ("warn", "test", "two\nlines of caf\xe9"),
        )
        self.assertRegex(event["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")

    def test_a_failure_brings_its_traceback(self) -> None:
        event: dict[str, Any] = {
            "log_time": 0.0,
            "log_level": LogLevel.critical,
            "log_format": "broken",
            "log_failure": Failure(ValueError("why")),
        }
        self.assertIn("ValueError: why", json.loads(json_line(event))["traceback"])


class ObserverTests(LogTestCase):
    """``[log]`` and twistd's options."""

    def write(self, log: Log) -> str:
        file = StringIO()
        made = observer(log, {"logfile": "x.log", "nodaemon": True}, lambda name: file)
        assert made is not None
        self.publisher.addObserver(made)
        self.log.debug("quiet")
        self.log.error("loud")
        return file.getvalue()

    def test_events_below_the_level_are_left_out(self) -> None:
        self.assertNotIn("quiet", self.write(Log()))
        text = self.write(Log(level="debug"))
        self.assertIn("quiet", text)
        self.assertIn("loud", text)

    def test_the_format_is_the_one_of_the_settings(self) -> None:
        self.assertEqual(json.loads(self.write(Log(format="json")))["message"], "loud")
        self.assertRegex(self.write(Log()), r"\[test#error\] loud\n$")

    def test_twistds_own_observers_come_first(self) -> None:
        self.assertIsNone(observer(Log(), {"syslog": True}))
        self.assertIsNone(observer(Log(), {"logger": "some.factory"}))


class BusObserverTests(LogTestCase):
    """The ``log`` channel."""

    def setUp(self) -> None:
        super().setUp()
        self.bus = Bus()
        self.publisher.addObserver(BusObserver(self.bus))

    def test_a_listener_gets_every_event(self) -> None:
        events: list[dict[str, Any]] = []
        self.bus.subscribe(LOG, events.append)
        self.log.info("hello {who}", who="you")
        self.assertEqual([event["who"] for event in events], ["you"])

    def test_a_listener_that_logs_does_not_hear_itself(self) -> None:
        calls: list[object] = []

        def listener(event: object) -> None:
            calls.append(event)
            self.log.info("again")

        self.bus.subscribe(LOG, listener)
        self.log.info("once")
        self.assertEqual(len(calls), 1)

    def test_a_coroutine_does_not_hear_itself_after_it_has_waited(self) -> None:
        gate: Deferred[None] = Deferred()
        calls: list[object] = []

        async def listener(event: object) -> None:
            calls.append(event)
            await gate
            self.log.info("again")

        self.bus.subscribe(LOG, listener)
        self.log.info("once")
        gate.callback(None)
        self.assertEqual(len(calls), 1)

    def test_nor_of_the_failure_of_what_it_has_told_others(self) -> None:
        answers: list[Deferred[None]] = []
        everything = BusObserver(self.bus)
        globalLogPublisher.addObserver(everything)
        self.addCleanup(globalLogPublisher.removeObserver, everything)

        def send(event: object) -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        self.bus.subscribe("send", send)
        self.bus.subscribe("send", send)
        self.bus.subscribe(LOG, lambda event: self.bus.tell("send", event))
        Logger().info("once")
        for each in tuple(answers):
            each.errback(ValueError("away"))
        self.assertEqual(len(answers), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_every_failure_is_on_stderr_with_its_traceback(self) -> None:
        stderr = StringIO()
        self.patch(sys, "__stderr__", stderr)

        def fail(event: object) -> None:
            raise ValueError("at once")

        async def fail_late(event: object) -> None:
            raise KeyError("late")

        self.bus.subscribe(LOG, fail)
        self.bus.subscribe(LOG, fail_late)
        self.log.info("on")
        said = stderr.getvalue()
        self.assertEqual(said.count("twbridge: a listener on log failed: Traceback"), 2)
        self.assertIn("ValueError: at once", said)
        self.assertIn("KeyError: 'late'", said)

    def test_a_listener_that_fails_stops_no_log(self) -> None:
        seen: list[object] = []
        self.publisher.addObserver(cast(ILogObserver, seen.append))

        def fail(event: object) -> None:
            raise ValueError("broken")

        self.bus.subscribe(LOG, fail)
        self.log.info("on")
        self.assertEqual(len(seen), 1)
