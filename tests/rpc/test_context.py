"""What a running task knows and can do."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import BadBody, EncodeError
from twbridge.rpc import context
from twbridge.rpc.context import Context, entered
from twbridge.rpc.serializers import JSON, PICKLE, TEXT, Body, Serializers


class ContextTestCase(SynchronousTestCase):
    """A call with executors that take notes."""

    def setUp(self) -> None:
        self.told: list[Body] = []
        self.published: list[tuple[str, Body]] = []

    def made(self, call_id: str = "c1", **more: Any) -> Context:
        told, published = self.told, self.published
        return Context(
            task="add",
            call_id=call_id,
            worker="w1",
            settings=more.pop("settings", {"url": "db"}),
            headers={"h": 1},
            send_progress=told.append,
            publish=lambda channel, body: published.append((channel, body)),
            **more,
        )


class ReadingTests(ContextTestCase):
    """Within a task, everything of its call; outside, a LookupError."""

    NAMES = (
        "settings",
        "headers",
        "reply_headers",
        "worker",
        "task",
        "call_id",
        "remaining",
        "redelivered",
        "cancelled",
    )

    def test_a_task_reads_its_own_call(self) -> None:
        with entered(self.made()):
            found = {name: getattr(context, name) for name in self.NAMES}
        self.assertEqual(
            found,
            {
                "settings": {"url": "db"},
                "headers": {"h": 1},
                "reply_headers": {},
                "worker": "w1",
                "task": "add",
                "call_id": "c1",
                "remaining": None,
                "redelivered": False,
                "cancelled": False,
            },
        )

    def test_outside_a_task_there_is_nothing(self) -> None:
        for name in self.NAMES:
            with self.assertRaisesRegex(LookupError, "while a task runs"):
                getattr(context, name)
        self.assertRaises(LookupError, context.progress, 1)
        self.assertRaises(LookupError, context.pubsub.publish, "news", 1)
        self.assertEqual(repr(context), "<context of no task>")

    def test_it_ends_with_the_task_also_when_that_fails(self) -> None:
        with self.assertRaises(OSError), entered(self.made()):
            raise OSError
        self.assertRaises(LookupError, lambda: context.task)

    def test_calls_within_calls_give_way_and_come_back(self) -> None:
        with entered(self.made("outer")):
            with entered(self.made("inner")):
                self.assertEqual(context.call_id, "inner")
            self.assertEqual(context.call_id, "outer")
            self.assertEqual(repr(context), "<context of add outer>")

    def test_settings_outlive_the_call(self) -> None:
        settings: dict[str, Any] = {}
        for number in range(3):
            with entered(self.made(settings=settings)):
                context.settings["count"] = context.settings.get("count", 0) + 1
                self.assertEqual(context.settings["count"], number + 1)

    def test_the_headers_of_the_result_are_the_calls_own(self) -> None:
        one, two = self.made(), self.made()
        with entered(one):
            context.reply_headers["etag"] = "a"
        with entered(two):
            self.assertEqual(context.reply_headers, {})
        self.assertEqual(one.reply_headers, {"etag": "a"})

    def test_time_runs_out_and_is_never_less_than_none(self) -> None:
        left: list[float | None] = [2.5, 0.0, -1.0, None]
        with entered(self.made(time_left=lambda: left.pop(0))):
            self.assertEqual([context.remaining for _ in range(4)], [2.5, 0.0, 0.0, None])

    def test_a_cancel_is_seen_when_it_comes(self) -> None:
        cancelled = [False, True]
        with entered(self.made(is_cancelled=lambda: cancelled.pop(0))):
            self.assertEqual([context.cancelled, context.cancelled], [False, True])


class TellingTests(ContextTestCase):
    """Progress to the caller, messages to subscribers."""

    def test_progress_goes_to_the_caller_in_order(self) -> None:
        with entered(self.made()):
            for value in (0.5, "half", Body(b"<a/>", "text/xml")):
                context.progress(value)
        self.assertEqual(
            self.told, [Body(b"0.5", JSON), Body(b"half", TEXT), Body(b"<a/>", "text/xml")]
        )

    def test_a_message_goes_to_the_channel(self) -> None:
        with entered(self.made()):
            context.pubsub.publish("news.today", {"a": 1})
        self.assertEqual(self.published, [("news.today", Body(b'{"a":1}', JSON))])

    def test_what_can_not_be_sent_is_refused_and_nothing_is(self) -> None:
        with entered(self.made()):
            self.assertRaises(BadBody, context.progress, object())
            self.assertRaises(BadBody, context.pubsub.publish, "news", object())
            self.assertRaises(EncodeError, context.pubsub.publish, "", 1)
            self.assertRaises(EncodeError, context.pubsub.publish, "a" * 256, 1)
        self.assertEqual((self.told, self.published), ([], []))

    def test_the_serializers_are_the_calls(self) -> None:
        class Pickling(Serializers):
            def encode(self, value: Any, **more: Any) -> Body:
                return super().encode(value, content_type=PICKLE)

        with entered(self.made(serializers=Pickling(pickle=True))):
            context.progress({1, 2})
        self.assertEqual(Serializers(pickle=True).decode(self.told[0]), {1, 2})


class ManyTests(ContextTestCase):
    """Calls beside each other see each its own."""

    def test_threads_see_their_own_calls(self) -> None:
        seen: list[str] = []

        def run(call_id: str) -> None:
            with entered(self.made(call_id)):
                seen.append(context.call_id)

        with entered(self.made("main")):
            threads = [Thread(target=run, args=(name,)) for name in "abc"]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            self.assertEqual(context.call_id, "main")
        self.assertEqual(sorted(seen), ["a", "b", "c"])

    def test_a_thread_of_the_tasks_own_sees_it_through_a_copy(self) -> None:
        seen: list[Any] = []

        def look() -> None:
            try:
                seen.append(context.call_id)
            except LookupError:
                seen.append(None)

        with entered(self.made()):
            for target in (look, partial(copy_context().run, look)):
                thread = Thread(target=target)
                thread.start()
                thread.join()
        self.assertEqual(seen, [None, "c1"])

    def test_coroutines_see_their_own_calls(self) -> None:
        async def run(call_id: str) -> str:
            with entered(self.made(call_id)):
                await asyncio.sleep(0)
                return context.call_id

        async def both() -> list[str]:
            return [*await asyncio.gather(run("a"), run("b"))]

        self.assertEqual(asyncio.run(both()), ["a", "b"])
