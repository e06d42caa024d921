"""The promises of tasks over queues, with real workers, on RabbitMQ and on the embedded broker.

Rows of the caller are in ``test_rpc_caller.py``, those of the worker's life in
``test_rpc_worker.py``.
"""

from __future__ import annotations

import gzip
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from tests.integration.cases import clock
from tests.integration.rabbitmq import in_thread
from tests.integration.rpc_cases import OnEmbedded, RpcCase
from twbridge.rpc import (
    BadBody,
    Body,
    CallCancelled,
    Caller,
    CallLost,
    CallTimeout,
    TaskError,
    gather,
)
from twbridge.rpc.deadletters import Replayed, letters, replay
from twbridge.rpc.inspection import survey

MEGABYTE = 1024 * 1024


class RpcRowsTests(RpcCase):
    """Every row that is not the caller's or the worker's own."""

    async def refused(self, awaitable: Any) -> TaskError:
        """The task's error."""
        error = await self.failure(awaitable, TaskError)
        assert isinstance(error, TaskError)
        return error

    # -- Task ---------------------------------------------------------------------------------

    async def test_a_task_answers_and_so_does_a_class_that_keeps_its_instance(self) -> None:
        caller = await self.caller()
        for body in (None, 3, "é", [1, {"a": None}], {"b": 0.5}, b"\xff\x00", ""):
            self.assertEqual(await caller.call(self.name("echo"), body), body)
        counter = self.name("counter")
        self.assertEqual(await gather(*(caller.call(counter, n) for n in (1, 2, 3))), [1, 3, 6])

    async def test_a_body_that_does_not_fit_is_the_callers_error(self) -> None:
        caller = await self.caller()
        self.assertEqual(await caller.call(self.name("add"), [1, 2]), 3)
        self.assertEqual(await caller.call(self.name("add"), {"a": "x", "b": "y"}), "xy")
        for body in ([1], {"a": 1, "c": 2}, 7, None):
            error = await self.refused(caller.call(self.name("add"), body))
            self.assertEqual(error.type, "TypeError")
            self.assertIn(self.name("add"), error.message)

    # -- Context ------------------------------------------------------------------------------

    async def test_the_context_has_settings_that_persist_headers_and_ids(self) -> None:
        caller = await self.caller()
        first = await caller.call(self.name("context"), timeout=5.0)
        call = caller.call_raw(
            self.name("context"), Body(b"null", "application/json"), headers={"yours": "é"}
        )
        result = await call
        second = caller.serializers.decode(result.body)
        self.assertEqual(first["settings"]["colour"], "blue")
        self.assertEqual(second["settings"]["calls"], first["settings"]["calls"] + 1)
        self.assertEqual(result.headers, {"mine": ["é", 1]})
        self.assertEqual((second["worker"], second["id"]), (result.worker, result.id))
        self.assertEqual((second["task"], second["redelivered"]), ("context", False))
        self.assertTrue(3.0 < first["remaining"] <= 5.0, first)
        self.assertIn(result.worker, self.shared.said)

    # -- Serializers --------------------------------------------------------------------------

    async def test_json_text_bytes_and_msgpack_go_both_ways(self) -> None:
        caller = await self.caller()
        kinds = {"str": "text", "bytes": b"b", "int": 3, "list": [1], "dict": {}, "NoneType": None}
        for kind, body in kinds.items():
            self.assertEqual(await caller.call(self.name("kind"), body), kind)
        packed = "application/msgpack"
        body = {"bytes": [b"\xff", "é"]}
        result = await caller.call(self.name("echo"), body, content_type=packed)
        self.assertEqual(result, body)

    async def test_pickle_needs_both_sides(self) -> None:
        pickle = "application/x-python-pickle"
        caller, trusting = await self.caller(), await self.caller(pickle=True)
        result = await trusting.call(self.name("pickled"), (1, 2), content_type=pickle)
        self.assertEqual(result, {"set": {(1, 2)}})
        await self.failure(caller.call(self.name("pickled"), 1, content_type=pickle), BadBody)
        error = await self.refused(trusting.call(self.name("echo"), 1, content_type=pickle))
        self.assertIn("pickle", error.message)

    async def test_bodies_over_32768_bytes_are_compressed_and_say_so_truthfully(self) -> None:
        caller = await self.caller()
        for size, encoding in ((32_768, None), (32_769, "gzip")):
            data = b"x" * size
            result = await caller.call_raw(
                self.name("echo"), caller.serializers.encode(data.decode(), compress=False)
            )
            self.assertEqual(result.body.content_encoding, encoding)
            raw = gzip.decompress(result.body.data) if encoding else result.body.data
            self.assertEqual(raw, data)
            self.assertEqual(await caller.call(self.name("echo"), data), data)

    async def test_nothing_is_inflated_without_a_limit(self) -> None:
        caller = await self.caller()
        bomb = Body(gzip.compress(bytes(17 * MEGABYTE)), "application/octet-stream", "gzip")
        error = await self.refused(caller.call(self.name("kind"), bomb))
        self.assertIn("16777216", re.sub("[ ,_]", "", error.message))
        self.assertEqual(await caller.call(self.name("echo"), 1), 1)

    # -- Failure ------------------------------------------------------------------------------

    async def test_a_failure_has_type_and_text_and_the_traceback_if_the_task_says_so(self) -> None:
        caller = await self.caller()
        error = await self.refused(caller.call(self.name("fails"), "nothing"))
        self.assertEqual((error.type, error.message), ("KeyError", "'nothing'"))
        self.assertEqual((error.traceback, error.public), (None, "The task failed."))
        error = await self.refused(caller.call(self.name("fails.loudly"), "é"))
        self.assertEqual((error.type, error.message), ("ValueError", "é"))
        assert error.traceback is not None
        self.assertIn("rpc_tasks.py", error.traceback)
        self.assertIn("in fails_loudly", error.traceback)
        error = await self.refused(caller.call(self.name("fails.publicly")))
        self.assertEqual(error.public, "An order has an id.")

    async def test_a_task_that_ends_its_process_harms_no_other(self) -> None:
        caller = await self.caller()
        lost, *others = await gather(
            caller.call(self.name("dies")),
            *(caller.call(self.name("echo"), number) for number in range(5)),
        )
        self.assertIsInstance(lost, CallLost)
        self.assertEqual(others, [0, 1, 2, 3, 4])
        self.assertIsNone(self.shared.process.poll())

    # -- Progress, cancel ---------------------------------------------------------------------

    async def test_progress_comes_in_order_and_before_the_result(self) -> None:
        caller = await self.caller()
        told: list[Any] = []
        result = await caller.call(self.name("pages"), 200, on_progress=told.append)
        self.assertEqual(result, 200)
        self.assertEqual(told, [{"page": number} for number in range(200)])

    async def test_a_cancel_reaches_the_task(self) -> None:
        caller = await self.caller()
        for task in ("endless", "endless.async"):
            channel = f"{self.prefix}{task}"
            begun: Deferred[Any] = Deferred()
            told: Deferred[tuple[str, Any]] = Deferred()
            await caller.subscribe(channel, _firing(told))
            call = caller.call(self.name(task), channel, on_progress=begun.callback)
            await begun
            call.cancel()
            await self.failure(call, CallCancelled)
            self.assertEqual(await told, (channel, "told"))
            await caller.unsubscribe(channel)

    # -- Retry, poison ------------------------------------------------------------------------

    async def test_poison_is_tried_again_then_kept_and_can_be_replayed(self) -> None:
        caller = await self.caller()
        for task in ("poison", "poison.classic"):
            name, folder = self.name(task), self.scratch()
            error = await self.refused(caller.call(name, folder, timeout=15.0))
            self.assertEqual((error.type, error.message), ("RuntimeError", "poisoned"))
            attempts = self.attempts(folder)
            self.assertEqual([line.split()[1] for line in attempts], ["False", "True", "True"])
            await self.dead(caller, name, 1)
            (letter,) = await letters(caller.link, clock, name)
            self.assertEqual((letter.id, letter.reason), (attempts[0].split()[0], "rejected"))
            self.assertEqual(await replay(caller.link, clock, name), Replayed(1))
            await self.tried(folder, 6)
            await self.dead(caller, name, 1)
            Path(folder, "cure").touch()
            await replay(caller.link, clock, name)
            await self.tried(folder, 7)
            await self.dead(caller, name, 0)

    def attempts(self, folder: str) -> list[str]:
        """What the task has noted."""
        return Path(folder, "attempts").read_text().splitlines()

    async def tried(self, folder: str, times: int) -> None:
        """Wait until it was tried so often."""
        await self.until(lambda: len(self.attempts(folder)) == times)

    async def test_a_request_that_kills_its_process_again_and_again_is_kept(self) -> None:
        caller, name, folder = await self.caller(), self.name("killer"), self.scratch()
        await self.failure(caller.call(name, folder, timeout=15.0), CallLost)
        self.assertEqual(Path(folder, "attempts").read_text(), "killed\nkilled\n")
        await self.dead(caller, name, 1)
        (letter,) = await letters(caller.link, clock, name)
        self.assertEqual((letter.reason, letter.caller), ("rejected", caller.id))

    async def test_what_was_too_late_is_kept_and_replayed_while_its_caller_lives(self) -> None:
        caller, name, folder = await self.caller(), self.name("lingers"), self.scratch()
        seconds, ended = Path(folder, "seconds"), Path(folder, "ended")
        seconds.write_text("60")
        call = caller.call(name, folder, timeout=1.0)
        await self.failure(call, CallTimeout)
        await self.dead(caller, name, 1)
        self.assertFalse(ended.exists())
        # Long enough that the worker would tell its caller that it has it.
        seconds.write_text("0.2")
        self.assertEqual(await replay(caller.link, clock, name), Replayed(1))
        await self.until(ended.exists)
        await self.dead(caller, name, 0)

    async def dead(self, caller: Caller, name: str, wanted: int) -> None:
        """Wait until a task has so many dead letters, and nothing waits or runs."""
        deadline = time.monotonic() + 10.0
        while True:
            (task,), _ = await survey(caller.link, clock, [name], wait=0.05)
            if (task.dead, task.waiting, task.running) == (wanted, 0, 0):
                return
            self.assertLess(time.monotonic(), deadline, task)

    def scratch(self) -> str:
        """A folder for one test."""
        path = Path(self.mktemp()).absolute()
        path.mkdir(parents=True)
        return str(path)

    # -- Long tasks ---------------------------------------------------------------------------

    async def test_a_long_task_does_not_lose_the_heartbeat(self) -> None:
        # The broker drops who is silent for two heartbeats.
        self.assertIn("heartbeat=1", self.query)
        caller, before = await self.caller(), len(self.shared.said)
        self.assertEqual(await caller.call(self.name("spins"), 3.5), 3.5)
        self.assertNotIn("away", self.shared.said[before:])
        self.assertNotIn("Connected to", self.shared.said[before:])

    # -- Balance ------------------------------------------------------------------------------

    async def test_two_workers_that_take_one_at_a_time_share_the_load(self) -> None:
        other, caller = await self.worker(), await self.caller()
        served = await gather(*(caller.call(self.name("naps"), 0.1) for _ in range(20)))
        shares = Counter(served)
        self.assertEqual(len(shares), 2, shares)
        self.assertGreaterEqual(min(shares.values()), 5, shares)
        self.assertEqual(await in_thread(other.stop), 0)


class EmbeddedRpcRowsTests(OnEmbedded, RpcRowsTests):
    """The same on the embedded broker."""


def _firing(told: Deferred[tuple[str, Any]]) -> Callable[[str, Any], None]:
    return lambda channel, value: told.callback((channel, value))
