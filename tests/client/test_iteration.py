"""``async for`` over messages."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred

from tests.client.scripted import CoreCase
from twbridge.client.inbox import BUFFER, Pump
from twbridge.client.iteration import Messages
from twbridge.client.messages import Message
from twbridge.client.subscription import Options, SubscriptionHooks
from twbridge.errors import Forbidden, TooMany


class IterationCase(CoreCase):
    """Tests of loops."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[Any] = []
        self.open()

    def messages(self, destination: str = "/queue/q", **options: Any) -> Messages:
        hooks = SubscriptionHooks(on_dropped=self.told.append)
        return Messages(self.core, destination, Options(**options), hooks)

    def next(self, messages: Messages) -> Deferred[Any]:
        """Ask for the next message."""
        return Deferred.fromCoroutine(messages.__anext__())

    def begun(self, destination: str = "/queue/q", **options: Any) -> Messages:
        """A loop that has subscribed."""
        messages = self.messages(destination, **options)
        entered = Deferred.fromCoroutine(messages.__aenter__())
        self.agree()
        self.assertIs(self.successResultOf(entered), messages)
        return messages


class LoopTests(IterationCase):
    """One message at a time."""

    def test_the_first_one_subscribes(self) -> None:
        bodies = []

        async def loop() -> None:
            async for message in self.messages():
                bodies.append(message.body)

        done = Deferred.fromCoroutine(loop())
        self.agree()
        for body in (1, 2):
            self.socket.message("/queue/q", body)
        self.assertEqual(bodies, [1, 2])
        self.assertNoResult(done)
        self.core.close()
        self.successResultOf(done)

    def test_leaving_it_ends_the_subscription(self) -> None:
        async def loop() -> Any:
            async for message in self.messages():
                return message.body
            return None

        done = Deferred.fromCoroutine(loop())
        self.agree()
        self.socket.message("/queue/q", 1)
        self.assertEqual(self.successResultOf(done), 1)
        gc.collect()
        self.assertEqual(self.agree()["op"], "unsubscribe")
        self.assertEqual(len(self.core.subscriptions), 0)

    def test_leaving_the_block_ends_it_too(self) -> None:
        messages = self.begun()
        left = Deferred.fromCoroutine(messages.__aexit__(None, None, None))
        self.assertNoResult(left)
        self.agree()
        self.successResultOf(left)
        self.failureResultOf(self.next(messages), StopAsyncIteration)

    def test_a_refusal_is_raised(self) -> None:
        first = self.next(self.messages())
        self.refuse("forbidden")
        self.failureResultOf(first, Forbidden)

    def test_what_came_before_the_end_is_given_and_then_the_error(self) -> None:
        messages = self.begun()
        self.socket.message("/queue/q", 1)
        self.socket.say("unsubscribed", destination="/queue/q", reason="It was deleted.")
        self.assertEqual(self.successResultOf(self.next(messages)).body, 1)
        error = self.failureResultOf(self.next(messages)).value
        self.assertEqual(str(error), "It was deleted.")

    def test_a_loop_that_waits_hears_of_the_end(self) -> None:
        messages = self.begun()
        waiting = self.next(messages)
        self.failureResultOf(self.next(messages), RuntimeError)
        self.socket.say("unsubscribed", destination="/queue/q", reason="It was deleted.")
        self.failureResultOf(waiting)

    def test_waiting_can_be_cancelled_and_taken_up_again(self) -> None:
        messages = self.begun()
        waiting = self.next(messages)
        waiting.cancel()
        self.failureResultOf(waiting)
        self.socket.message("/queue/q", 1)
        self.assertEqual(self.successResultOf(self.next(messages)).body, 1)


class AckTests(IterationCase):
    """The loop acknowledges."""

    def deliver(self, *tags: int) -> None:
        for tag in tags:
            self.socket.message("/queue/q", tag, delivery_tag=tag)

    def acked(self) -> list[tuple[str, int]]:
        frames = self.socket.take()
        return [(frame["op"], frame["delivery_tag"]) for frame in frames if "delivery_tag" in frame]

    def test_a_message_when_the_next_is_asked_for(self) -> None:
        messages = self.begun(ack="client")
        self.deliver(1, 2)
        self.next(messages)
        self.assertEqual(self.acked(), [])
        self.next(messages)
        self.assertEqual(self.acked(), [("ack", 1)])
        Deferred.fromCoroutine(messages.__aexit__(None, None, None))
        self.assertEqual(self.acked(), [("ack", 2)])

    def test_not_what_the_loop_has_settled_itself(self) -> None:
        messages = self.begun(ack="client")
        self.deliver(1)
        self.successResultOf(self.next(messages)).nack()
        self.next(messages)
        self.assertEqual(self.acked(), [("nack", 1)])

    def test_not_where_it_failed(self) -> None:
        messages = self.begun(ack="client")
        self.deliver(1)
        self.next(messages)
        error = ZeroDivisionError()
        Deferred.fromCoroutine(messages.__aexit__(type(error), error, None))
        self.assertEqual(self.acked(), [])

    def test_not_where_it_is_told_not_to(self) -> None:
        messages = self.begun(ack="manual")
        self.deliver(1, 2)
        self.next(messages)
        self.next(messages)
        self.assertEqual(self.acked(), [])

    def test_what_waits_comes_again_from_its_queue_when_the_connection_is_lost(self) -> None:
        messages = self.begun(ack="client")
        self.deliver(1, 2)
        self.next(messages)
        self.reopen()
        self.agree()
        self.deliver(3)
        self.assertEqual(self.successResultOf(self.next(messages)).body, 3)
        self.assertEqual(self.acked(), [])


class BufferTests(IterationCase):
    """A loop that is slower than the bridge."""

    def fill(self, destination: str, first: int = 0, number: int = BUFFER) -> None:
        for offset in range(first, first + number):
            self.socket.message(destination, offset, offset=offset)

    def test_a_stream_is_paused_and_read_again_from_where_it_was(self) -> None:
        messages = self.begun("/stream/s", start="first")
        self.fill("/stream/s")
        self.assertEqual(self.socket.sent[-1]["op"], "unsubscribe")
        self.fill("/stream/s", BUFFER, 50)
        self.agree()
        got = [self.successResultOf(self.next(messages)).body for _ in range(BUFFER // 2)]
        self.assertEqual(self.agree()["from"], f"offset={BUFFER}")
        self.fill("/stream/s", BUFFER, 10)
        got += [self.successResultOf(self.next(messages)).body for _ in range(BUFFER // 2 + 10)]
        self.assertEqual(got, list(range(BUFFER + 10)))

    def test_a_paused_stream_stays_paused_on_the_next_connection(self) -> None:
        messages = self.begun("/stream/s", start="first")
        self.fill("/stream/s")
        self.reopen()
        self.assertEqual(self.socket.sent, [])
        for _ in range(BUFFER // 2):
            self.successResultOf(self.next(messages))
        self.assertEqual(self.agree()["from"], f"offset={BUFFER}")

    def test_one_that_is_resumed_before_the_bridge_has_paused_it_asks_once(self) -> None:
        messages = self.begun("/stream/s", start="first")
        self.fill("/stream/s")
        for _ in range(BUFFER // 2):
            self.successResultOf(self.next(messages))
        self.agree()
        self.assertEqual(self.agree()["from"], f"offset={BUFFER}")

    def test_policies_that_drop_drop_here_too_and_say_so(self) -> None:
        for overflow in ("drop-oldest", "latest"):
            messages = self.begun("/topic/a", overflow=overflow)
            self.fill("/topic/a", number=BUFFER + 4)
            self.assertEqual(self.successResultOf(self.next(messages)).body, 5)
            self.assertEqual(self.told, [1] * 5)
            messages.close()
            self.agree()
            self.told.clear()

    def test_anything_else_ends_loudly(self) -> None:
        messages = self.begun("/topic/a")
        self.fill("/topic/a", number=BUFFER + 4)
        self.assertEqual(self.socket.sent[-1]["op"], "unsubscribe")
        for _ in range(BUFFER):
            self.successResultOf(self.next(messages))
        self.failureResultOf(self.next(messages), TooMany)

    def test_what_waits_for_acknowledgements_is_bounded_by_the_prefetch(self) -> None:
        messages = self.begun("/queue/q", ack="client")
        for tag in range(BUFFER + 1):
            self.socket.message("/queue/q", tag, delivery_tag=tag)
        self.assertTrue(messages.subscription.active)


class CallbackTests(IterationCase):
    """A callback gets one message at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.got: list[Message] = []
        self.working: list[Deferred[None]] = []

    def work(self, message: Message) -> Deferred[None]:
        """Takes its time."""
        self.got.append(message)
        self.working.append(Deferred())
        return self.working[-1]

    def pump(self, on_message: Any, **options: Any) -> Pump:
        core = self.core
        hooks = SubscriptionHooks(on_ended=lambda _: None)
        pump = Pump(
            core.subscriptions, core.tell, "/queue/q", Options(**options), hooks, on_message
        )
        core.subscriptions.add(pump.subscription).addErrback(lambda _: None)
        self.agree()
        return pump

    def deliver(self, *tags: int) -> None:
        for tag in tags:
            self.socket.message("/queue/q", tag, delivery_tag=tag)

    def acked(self) -> list[int]:
        return [frame["delivery_tag"] for frame in self.socket.take() if frame["op"] == "ack"]

    def test_the_next_when_the_last_is_done(self) -> None:
        self.pump(self.work, ack="client")
        self.deliver(1, 2, 3)
        self.assertEqual([message.body for message in self.got], [1])
        self.assertEqual(self.acked(), [])
        self.working[0].callback(None)
        self.assertEqual([message.body for message in self.got], [1, 2])
        self.assertEqual(self.acked(), [1])

    def test_what_returns_at_once_is_done(self) -> None:
        async def coroutine(message: Message) -> None:
            self.got.append(message)

        for callback in (self.got.append, coroutine):
            pump = self.pump(callback, ack="client")
            self.deliver(*range(1, 1_500))
            self.assertEqual(self.acked(), list(range(1, 1_500)))
            pump.subscription.unsubscribe()
            self.agree()

    def test_one_that_fails_acknowledges_nothing_and_gets_the_next(self) -> None:
        def fail(message: Message) -> None:
            self.got.append(message)
            raise ZeroDivisionError

        async def fail_later(message: Message) -> None:
            fail(message)

        for callback in (fail, fail_later):
            pump = self.pump(callback, ack="client")
            self.deliver(1, 2)
            self.assertEqual(self.acked(), [])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
            pump.subscription.unsubscribe()
            self.agree()
        self.assertEqual(len(self.got), 4)

    def test_without_an_acknowledgement_it_is_waited_for_too(self) -> None:
        self.pump(self.work)
        self.socket.message("/queue/q", 1)
        self.socket.message("/queue/q", 2)
        self.assertEqual(len(self.got), 1)
        self.working[0].callback(None)
        self.assertEqual((len(self.got), self.acked()), (2, []))

    def test_manual_ones_are_in_work_beside_each_other(self) -> None:
        self.pump(self.work, ack="manual")
        self.deliver(1, 2, 3)
        self.assertEqual(len(self.got), 3)
        self.working[0].callback(None)
        self.assertEqual(self.acked(), [])
        self.assertTrue(self.got[1].ack())
        self.assertFalse(self.got[1].ack())
        self.assertEqual(self.acked(), [2])

    def test_nothing_comes_after_it_was_ended(self) -> None:
        pump = self.pump(self.work, ack="client")
        self.deliver(1, 2)
        pump.subscription.unsubscribe()
        self.working[0].callback(None)
        self.assertEqual((len(self.got), self.acked()), (1, []))

    def test_one_may_end_it_in_the_midst(self) -> None:
        def once(message: Message) -> None:
            self.got.append(message)
            pump.subscription.unsubscribe()

        pump = self.pump(once, ack="client")
        self.deliver(1, 2)
        self.assertEqual(len(self.got), 1)

    def test_what_waits_comes_again_when_the_connection_is_lost(self) -> None:
        self.pump(self.work, ack="client")
        self.deliver(1, 2)
        self.reopen()
        self.agree()
        self.deliver(3)
        self.working[0].callback(None)
        self.assertEqual([message.body for message in self.got], [1, 3])
        self.assertEqual(self.acked(), [])
