"""Callers: expiry, losses, ten thousand calls, channels, queues, ``twbridge call``."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import uuid
from functools import partial
from typing import Any

from tests.integration.rabbitmq import in_thread
from tests.integration.rpc_cases import TWBRIDGE, OnEmbedded, TaskCase
from tests.rpc.fake_worker import FakeWorker
from twbridge.errors import (
    CallLost,
    CallTimeout,
    ChannelClosed,
    ExpirationError,
    NotReady,
    TwbridgeError,
    UnknownTask,
)
from twbridge.rpc.caller import Caller, gather
from twbridge.rpc.messages import task_queue


class CallerCase(TaskCase):
    """Callers, and a worker of a few lines; tasks have names of the test's own."""

    def name(self) -> str:
        """Of a task whose queue is gone after the test."""
        name = f"test.{uuid.uuid4().hex}"
        self._names.append(name)
        return name

    def setUp(self) -> None:
        self._names: list[str] = []

    async def worker(self, url: str | None = None) -> FakeWorker:
        worker = FakeWorker(self.link(url))
        self.addCleanup(worker.delete, self._names)
        await worker.listen()
        return worker

    def check_outcomes(self, results: list[Any]) -> None:
        """Each is its own result, or a clear error."""
        self.assertEqual(sorted(number for number, _ in results), [*range(1000)])
        lost = 0
        for number, value in results:
            if value != number:
                self.assertIsInstance(value.value, CallLost | NotReady | UnknownTask)
                self.assertIsInstance(value.value, TwbridgeError)
                lost += 1
        self.assertGreater(lost, 0)


class CallerRowsTests(CallerCase):
    """What a caller may rely on."""

    # -- Requests that come back --------------------------------------------------------------

    async def test_callers_get_exactly_their_own(self) -> None:
        """The head of the queue does not expire: what is behind it does when it is gone."""
        worker, name = await self.worker(), self.name()
        await worker.declare(name)
        await worker.link.publish("", task_queue(name), b"the head")
        callers = [await self.caller() for _ in range(3)]
        called = [
            caller.call(name, timeout=0.2)
            for count, caller in enumerate(callers, 1)
            for _ in range(count)
        ]
        for error in await gather(*called):
            self.assertIsInstance(error, ExpirationError)
            self.assertEqual((error.reason, error.expiration), ("nobody took it", 0.2))
            self.assertTrue(0.2 <= error.time < 5.0, error.time)
        self.assertEqual([caller.strays for caller in callers], [0, 0, 0])

        heads: list[Any] = []
        head = await worker.link.consume(worker.queue(name), heads.append, prefetch=1)
        await self.until(lambda: heads)
        head.ack(heads[0].delivery_tag)
        await self.until(lambda: sum(caller.strays for caller in callers) >= 6)
        await callers[0].call(name, timeout=0.05).addErrback(lambda _: None)  # one round more
        self.assertEqual([caller.strays for caller in callers][1:], [2, 3])

    async def test_those_that_are_rejected_come_at_once_to_who_called(self) -> None:
        worker, name = await self.worker(), self.name()
        await worker.serve(name)
        callers = [await self.caller() for _ in range(3)]
        called = [caller.call(name, number) for number, caller in enumerate(callers)]
        await self.until(lambda: len(worker.requests) == 3)
        [rejected] = [each for each in worker.requests if each.body.data == b"1"]
        worker.reject(rejected)
        error = await self.failure(called[1], CallLost)
        self.assertIn("a worker rejected it", str(error))
        for request in worker.requests:
            if request is not rejected:
                worker.echo(request)
        self.assertEqual([await called[0], await called[2]], [0, 2])

    # -- Calls, and what becomes of them -------------------------------------------------------

    async def test_an_unknown_task_fails_at_once(self) -> None:
        caller = await self.caller()
        error = await self.failure(caller.call(self.name()), UnknownTask)
        self.assertEqual(error.code, "not_found")

    async def test_priorities_are_kept(self) -> None:
        worker, name, caller = await self.worker(), self.name(), await self.caller()
        await worker.declare(name)
        called = [caller.call(name, each, priority=each) for each in (0, 255, 100)]
        await self.until(lambda: all(each.confirm.called for each in _pending(caller)))
        await worker.serve(name, worker.echo, prefetch=1)
        self.assertEqual(await gather(*called), [0, 255, 100])
        self.assertEqual([each.priority for each in worker.requests], [255, 102, 0])

    async def test_progress_comes_in_order_and_a_late_call_is_ended_at_its_worker(self) -> None:
        worker, name, caller = await self.worker(), self.name(), await self.caller()

        def answer(request: Any) -> None:
            worker.accept(request)
            for number in range(1, 51):
                worker.progress(request, number, number)

        await worker.serve(name, answer)
        told: list[int] = []
        called = caller.call(name, timeout=2, on_progress=told.append)
        await self.failure(called, CallTimeout)
        self.assertEqual(told, [*range(1, 51)])
        await self.until(lambda: worker.cancels)
        self.assertEqual(worker.cancels[0].id, worker.requests[0].id)

    async def test_gathered_they_are_in_order_and_errors_are_values(self) -> None:
        worker, caller = await self.worker(), await self.caller()
        name, idle = self.name(), self.name()
        await worker.serve(name, worker.echo)
        await worker.declare(idle)
        first, expired, unknown, last = await gather(
            caller.call(name, "first"),
            caller.call(idle, timeout=0.2),
            caller.call(f"test.{uuid.uuid4().hex}"),
            caller.call(name, "last"),
        )
        self.assertEqual((first, last), ("first", "last"))
        self.assertIsInstance(expired, ExpirationError)
        self.assertIsInstance(unknown, UnknownTask)

    async def test_compressed_if_the_call_says_so_and_not_if_it_says_not(self) -> None:
        worker, name, caller = await self.worker(), self.name(), await self.caller()
        await worker.serve(name, worker.echo)
        small, large = "x" * 200, "y" * 100_000
        for value, compress, encoding in (
            (small, None, None),
            (small, True, "gzip"),
            (large, None, "gzip"),
            (large, False, None),
        ):
            self.assertEqual(await caller.call(name, value, compress=compress), value)
            body = worker.requests[-1].body
            self.assertEqual(body.content_encoding, encoding)
            data = gzip.decompress(body.data) if encoding else body.data
            self.assertEqual(data, value.encode())

    async def test_ten_thousand_are_outstanding_at_once(self) -> None:
        worker, name, caller = await self.worker(), self.name(), await self.caller()
        await worker.serve(name, prefetch=0)
        called = [caller.call(name, number) for number in range(10_000)]
        await self.until(lambda: len(worker.requests) == 10_000, 20)
        self.assertEqual(len(caller), 10_000)
        for request in worker.requests:
            worker.echo(request)
        self.assertEqual(await gather(*called), [*range(10_000)])
        self.assertEqual((len(caller), caller.strays), (0, 0))

    # -- The connection goes away in the middle; test_rpc_worker.py has the broker itself --------

    async def test_a_cut_connection_leaves_no_call_hanging(self) -> None:
        worker, name, proxy = await self.worker(), self.name(), await self.proxy()
        results: list[Any] = []
        held: list[Any] = []
        holding = True

        def answer(request: Any) -> None:
            """Every tenth is pending when the connection goes."""
            if holding and request.body.data.endswith(b"9"):
                held.append(request)
            else:
                worker.echo(request)

        await worker.serve(name, answer, prefetch=0)
        caller = await self.caller(self.url_of(proxy))
        for number in range(1000):
            caller.call(name, number).addBoth(_note, number, results)
        await self.until(lambda: held and len(results) > 100)
        proxy.reset()
        holding = False
        await self.until(lambda: len(results) == 1000, 15)
        self.check_outcomes(results)
        self.assertEqual(await caller.call(name, "again"), "again")
        self.assertEqual(len(caller), 0)

    # -- Channels, and queues that are consumed -------------------------------------------------

    async def test_a_message_reaches_those_that_are_subscribed(self) -> None:
        channel = f"test.{uuid.uuid4()}"
        callers = [await self.caller() for _ in range(3)]
        heard: list[Any] = []
        await callers[0].publish(channel, "before any subscriber exists")
        for number, caller in enumerate(callers[:2]):
            await caller.subscribe(f"{channel}.*", partial(_hear, number, heard))
        for number in range(3):
            await callers[2].publish(f"{channel}.a", number)
        await self.until(lambda: len(heard) == 6)
        await callers[0].unsubscribe(f"{channel}.*")
        await callers[2].publish(f"{channel}.a", 3)
        await self.until(lambda: len(heard) == 7)
        self.assertEqual(sorted(heard), [*((0, n) for n in range(3)), *((1, n) for n in range(4))])

    async def test_a_queue_is_consumed_with_one_more_chance_for_each_message(self) -> None:
        queue, caller = await self.queue(), await self.caller()
        seen: list[Any] = []

        async def take(delivery: Any) -> None:
            seen.append((caller.decode(delivery), delivery.redelivered))
            if delivery.body == b"bad":
                raise ZeroDivisionError

        for body in (b"bad", b"good"):
            await caller.link.publish("", queue, body, {"content_type": "text/plain"})
        consumer = await caller.consume(queue, take, prefetch=1)
        await self.until(lambda: len(seen) == 3)
        self.assertEqual(seen, [("bad", False), ("bad", True), ("good", False)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        await consumer.cancel()
        self.assertEqual(await self.drain(queue), [])
        error = await self.failure(caller.consume("no such queue", take), ChannelClosed)
        self.assertEqual(error.reply_code, 404)


class EmbeddedCallerRowsTests(OnEmbedded, CallerRowsTests):
    """The same on the embedded broker."""


class CommandTests(CallerCase):
    """``twbridge call``."""

    def run_command(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(TWBRIDGE), "call", *arguments],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "AMQP_URL": self.node.url()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def says(self, command: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = await in_thread(command.communicate, timeout=20)
        return command.returncode, out, err

    async def test_it_prints_the_result_or_the_error(self) -> None:
        worker, name = await self.worker(), self.name()

        def answer(request: Any) -> None:
            if request.headers.get("how") == "bytes":
                worker.progress(request, 1, {"done": 50})
                worker.result(request, b"\xff")
            elif request.headers.get("how") == "badly":
                worker.failed(request, "failed", "ValueError", "two\nlines")
            else:
                worker.echo(request)

        await worker.serve(name, answer)
        value = {"a": [1, "é", None]}
        commands = [
            self.run_command(name, json.dumps(value), "--priority", "9", "--timeout", "15"),
            self.run_command(name, "--header", "how=bytes", "--progress"),
            self.run_command(name, "1", "--header", "how=badly"),
        ]
        said = [await self.says(command) for command in commands]
        self.assertEqual([code for code, _, _ in said], [0, 0, 1])
        self.assertEqual(json.loads(said[0][1]), value)
        self.assertEqual(said[1][1:], ('{"base64":"/w=="}\n', '{"done":50}\n'))
        self.assertEqual(said[2][1:], ("", "twbridge: worker_error: ValueError: two lines\n"))

    async def test_interrupted_it_ends_the_call_at_its_worker(self) -> None:
        worker, name = await self.worker(), self.name()
        await worker.serve(name, worker.accept)
        command = self.run_command(name)
        await self.until(lambda: worker.requests)
        command.send_signal(signal.SIGINT)
        self.assertEqual(await self.says(command), (130, "", ""))


def _note(value: Any, number: int, results: list[Any]) -> None:
    results.append((number, value))


def _hear(number: int, heard: list[Any], _channel: str, value: Any) -> None:
    heard.append((number, value))


def _pending(caller: Caller) -> list[Any]:
    return list(caller._requests._calls.pending.values())
