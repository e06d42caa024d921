"""The bus: order, isolation, comings and goings."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twbridge.bus import Bus, BusError


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
