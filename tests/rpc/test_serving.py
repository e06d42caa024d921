"""What a worker's process gives to the others, and keeps from them."""

from __future__ import annotations

import dataclasses
import os
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from twbridge.cli.broker import Broker, find
from twbridge.rpc import serving
from twbridge.rpc.serving import Serving
from twbridge.rpc.supervisor import SUPERVISED
from twbridge.rpc.worker import WorkerOptions

SECRET = "amqp://me:secret@host"
OURS = ("TWBRIDGE_AMQP_URL", "TWBRIDGE_EMBEDDED_ENABLED", SUPERVISED)


class EnvironmentTests(SynchronousTestCase):
    """What a supervisor tells its workers, and what is left of it for the tasks."""

    def setUp(self) -> None:
        for name in OURS:
            self.set(name, None)
        broker = find({"amqp-url": SECRET, "amqp-url-file": None}, {})
        assert isinstance(broker, Broker)
        self.serving = Serving("tasks", broker, 2, settings={"a": 1})

    def set(self, name: str, value: str | None) -> None:
        """Set a variable for this test, or have none of that name."""
        before = os.environ.pop(name, None)
        if before is None:
            self.addCleanup(os.environ.pop, name, None)
        else:
            self.addCleanup(os.environ.__setitem__, name, before)
        if value is not None:
            os.environ[name] = value

    def supervised(self) -> dict[str, str]:
        """Become a worker of such a supervisor; what it began with."""
        given = serving._environment(self.serving)
        for name in OURS:
            os.environ.pop(name, None)
            if name in given:
                os.environ[name] = given[name]
        settings = serving._supervised()
        assert settings is not None
        self.assertEqual(settings, {"a": 1})
        return given

    def test_tasks_do_not_get_the_url_that_the_supervisor_found(self) -> None:
        given = self.supervised()
        self.assertEqual(given["TWBRIDGE_AMQP_URL"], SECRET)
        self.assertFalse([name for name in OURS if name in os.environ])
        self.assertNotIn(SECRET, os.environ.values())

    def test_tasks_get_what_was_set_for_all(self) -> None:
        self.set("TWBRIDGE_AMQP_URL", "amqp://mine")
        self.set("TWBRIDGE_EMBEDDED_ENABLED", "no")
        given = self.supervised()
        self.assertEqual(given["TWBRIDGE_AMQP_URL"], SECRET)
        self.assertNotIn("TWBRIDGE_EMBEDDED_ENABLED", given)
        self.assertEqual(os.environ["TWBRIDGE_AMQP_URL"], "amqp://mine")
        self.assertEqual(os.environ["TWBRIDGE_EMBEDDED_ENABLED"], "no")

    def test_each_worker_has_the_options(self) -> None:
        options = WorkerOptions(concurrency=3, drain=4.0, start=5.0)
        command = serving._command(dataclasses.replace(self.serving, options=options))
        given = dict(pairwise(command))
        self.assertEqual(
            [given[f"--{name}"] for name in ("concurrency", "drain", "start")], ["3", "4.0", "5.0"]
        )

    def test_nobody_supervises_a_worker_of_its_own(self) -> None:
        self.set("TWBRIDGE_AMQP_URL", "amqp://mine")
        self.assertIsNone(serving._supervised())
        self.assertEqual(os.environ["TWBRIDGE_AMQP_URL"], "amqp://mine")
