"""The bus: order, isolation, comings and goings."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from twbridge.bus import Bus, BusError, State, listener


class BusTests(SynchronousTestCase):
    """Channels of one process."""

    def setUp(self) -> None:
        self.bus = Bus()
        self.calls: list[str] = []

    def listen(self, name: str, priority: float = 50, channel: str = "c") -> None:
        def listener() -> str:
            self.calls.append(name)
            return name

        self.bus.subscribe(channel, listener, priority)

    def test_listeners_are_called_by_priority_and_then_by_arrival(self) -> None:
        self.listen("third")
        self.listen("fourth")
        self.listen("first", 10)
        self.listen("fifth", 90)
        self.listen("second", 10)
        results = self.bus.publish("c")
        expected = ["first", "second", "third", "fourth", "fifth"]
        self.assertEqual((self.calls, results), (expected, expected))

    def test_a_channel_without_listeners_takes_anything(self) -> None:
        self.assertEqual(self.bus.publish("nobody", 1, 2), [])

    def test_listeners_get_the_arguments(self) -> None:
        got: list[tuple[object, ...]] = []
        self.bus.subscribe("c", lambda *args: got.append(args))
        self.bus.publish("c", b"body", "/topic/a")
        self.assertEqual(got, [(b"body", "/topic/a")])

    def test_one_that_fails_stops_no_other_and_all_failures_are_reported(self) -> None:
        errors = [ValueError("one"), KeyError("two")]
        for priority, error in zip((10, 60), errors, strict=True):

            def fail(error: Exception = error) -> None:
                raise error

            self.bus.subscribe("c", fail, priority)
        self.listen("middle", 30)
        self.listen("last", 90)
        error = self.assertRaises(BusError, self.bus.publish, "c")
        self.assertEqual(self.calls, ["middle", "last"])
        self.assertEqual((error.channel, error.failures), ("c", tuple(errors)))
        self.assertEqual(str(error), "2 on channel c failed: ValueError: one; KeyError: 'two'")
        self.assertEqual(error.results, ("middle", "last"))

    def test_a_listener_may_be_a_coroutine(self) -> None:
        gate: Deferred[str] = Deferred()

        async def wait() -> str:
            return await gate

        self.bus.subscribe("c", wait)
        (waiting,) = self.bus.publish("c")
        self.assertNoResult(waiting)
        gate.callback("done")
        self.assertEqual(self.successResultOf(waiting), "done")

    def test_the_end_of_a_subscription_ends_it_once(self) -> None:
        listener = self.calls.append
        first = self.bus.subscribe("c", listener)
        self.bus.subscribe("c", listener)
        first()
        first()
        self.bus.publish("c", "x")
        self.assertEqual(self.calls, ["x"])

    def test_a_channel_is_listened_to_until_the_last_listener_has_gone(self) -> None:
        self.assertFalse(self.bus.has("c"))
        end = self.bus.subscribe("c", print)
        self.assertTrue(self.bus.has("c"))
        end()
        self.assertFalse(self.bus.has("c"))

    def test_listeners_may_come_and_go_while_a_channel_publishes(self) -> None:
        def leave() -> None:
            self.calls.append("leave")
            end()
            self.listen("new")

        end = self.bus.subscribe("c", leave, 1)
        self.listen("old")
        self.bus.publish("c")
        self.assertEqual(self.calls, ["leave", "old"])
        self.bus.publish("c")
        self.assertEqual(self.calls, ["leave", "old", "old", "new"])

    def test_the_first_listener_of_a_channel_is_told_of(self) -> None:
        bus = Bus(self.calls.append)
        end = bus.subscribe("a", print)
        bus.subscribe("a", print)
        bus.subscribe("b", print)
        self.assertEqual(self.calls, ["a", "b"])
        end()


class TellTests(SynchronousTestCase):
    """``bus.tell(...)``: nobody is there to raise to."""

    def setUp(self) -> None:
        self.bus = Bus()

    def failures(self, kind: type[Exception]) -> list[str]:
        """The tracebacks that were logged."""
        return [failure.getTraceback() for failure in self.flushLoggedErrors(kind)]

    def test_every_failure_is_logged_with_its_traceback(self) -> None:
        def first() -> None:
            raise ValueError("one")

        def second() -> None:
            raise ValueError("two")

        calls: list[str] = []
        self.bus.subscribe("c", first, 1)
        self.bus.subscribe("c", second, 2)
        self.bus.subscribe("c", lambda: calls.append("last"), 3)
        self.bus.tell("c")
        one, two = self.failures(ValueError)
        self.assertIn("in first", one)
        self.assertIn("ValueError: one", one)
        self.assertIn("in second", two)
        self.assertEqual(calls, ["last"])

    def test_a_deferred_that_fails_is_logged_also_beside_a_listener_that_raises(self) -> None:
        late: Deferred[None] = Deferred()

        def fail() -> None:
            raise KeyError("at once")

        async def wait() -> None:
            await late

        self.bus.subscribe("c", fail, 1)
        self.bus.subscribe("c", wait, 2)
        self.bus.tell("c")
        self.assertEqual(len(self.failures(KeyError)), 1)
        late.errback(ValueError("late"))
        (text,) = self.failures(ValueError)
        self.assertIn("ValueError: late", text)
        self.assertIn("in wait", text)

    def test_it_waits_for_nothing(self) -> None:
        waiting: Deferred[None] = Deferred()
        self.bus.subscribe("c", lambda: waiting)
        self.bus.tell("c")
        self.assertNoResult(waiting)


class Member:
    """Has listeners."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    @listener("b")
    @listener("a")
    def second(self, *args: object) -> None:
        self.calls.append(("second", *args))

    @listener("a", priority=10)
    def first(self) -> None:
        self.calls.append("first")

    @listener("a")
    def third(self) -> None:
        self.calls.append("third")

    def nothing(self) -> None:
        self.calls.append("nothing")


class Heir(Member):
    """Has one more, one that does something else, another priority, and one less."""

    second = None  # type: ignore[assignment]

    @listener("a", priority=5)
    def zeroth(self) -> None:
        self.calls.append("zeroth")

    def first(self) -> None:
        self.calls.append("first of the heir")

    @listener("a", priority=1)
    def third(self) -> None:
        self.calls.append("third of the heir")


class JoinTests(SynchronousTestCase):
    """``bus.join(...)``: listeners that are methods."""

    def setUp(self) -> None:
        self.bus = Bus()

    def test_marked_methods_listen_with_their_priorities(self) -> None:
        member = Member()
        self.bus.join(member)
        self.bus.publish("a")
        self.bus.publish("b", 1)
        self.assertEqual(member.calls, ["first", ("second",), "third", ("second", 1)])

    def test_a_method_that_a_class_below_defines_anew_keeps_its_marks_or_has_others(self) -> None:
        heir = Heir()
        self.bus.join(heir)
        self.bus.publish("a")
        self.bus.publish("b")
        self.assertEqual(heir.calls, ["third of the heir", "zeroth", "first of the heir"])

    def test_leaving_ends_all_of_them_once(self) -> None:
        member = Member()
        leave = self.bus.join(member)
        leave()
        leave()
        self.bus.publish("a")
        self.assertEqual(member.calls, [])
        self.assertFalse(self.bus.has("b"))


class StateTests(SynchronousTestCase):
    """``bus.state``: where the bridge is in its life."""

    STEPS = {
        ("idle", "starting"),
        ("idle", "stopping"),
        ("starting", "started"),
        ("starting", "stopping"),
        ("started", "stopping"),
        ("stopping", "stopped"),
    }
    WAYS = {
        State.IDLE: (),
        State.STARTING: (State.STARTING,),
        State.STARTED: (State.STARTING, State.STARTED),
        State.STOPPING: (State.STOPPING,),
        State.STOPPED: (State.STOPPING, State.STOPPED),
    }

    def test_every_step_is_one_of_the_table_or_none(self) -> None:
        for state, way in self.WAYS.items():
            for wanted in State:
                bus = Bus()
                for step in way:
                    bus.enter(step)
                self.assertIs(bus.state, state)
                told: list[State] = []
                bus.subscribe(wanted, lambda bus=bus, told=told: told.append(bus.state))
                bus.enter(wanted)
                possible = (str(state), str(wanted)) in self.STEPS
                self.assertIs(bus.state, wanted if possible else state)
                self.assertEqual(told, [wanted] if possible else [], (state, wanted))

    def test_listeners_are_called_by_priority_and_failures_end_nothing(self) -> None:
        bus, calls = Bus(), list[str]()

        def fail() -> None:
            calls.append("fails")
            raise ValueError("broken")

        bus.subscribe("stopping", lambda: calls.append("last"), 90)
        bus.subscribe("stopping", fail, 50)
        bus.subscribe("stopping", lambda: calls.append("first"), 10)
        bus.enter(State.STOPPING)
        self.assertEqual((calls, bus.state), (["first", "fails", "last"], "stopping"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
