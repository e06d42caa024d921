"""The states of the link: every input in every state."""

from __future__ import annotations

from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twbridge.link.states import LinkState, Listeners, link_states

STATES = ("idle", "connecting", "ready", "blocked", "closing", "closed")
INPUTS = ("start", "up", "down", "blocked", "stop", "finished")

#: How each state is reached from idle.
PATHS = {
    "idle": (),
    "connecting": ("start",),
    "ready": ("start", "up"),
    "blocked": ("start", "blocked"),
    "closing": ("start", "stop"),
    "closed": ("stop",),
}
#: The moves of the table; every other pair stays where it is.
MOVES = {
    ("idle", "start"): "connecting",
    ("idle", "stop"): "closed",
    ("connecting", "up"): "ready",
    ("connecting", "blocked"): "blocked",
    ("connecting", "stop"): "closing",
    ("ready", "down"): "connecting",
    ("ready", "blocked"): "blocked",
    ("ready", "stop"): "closing",
    ("blocked", "up"): "ready",
    ("blocked", "down"): "connecting",
    ("blocked", "stop"): "closing",
    ("closing", "finished"): "closed",
    ("closed", "start"): "connecting",
}
#: Inputs that tell of something that is kept as the description, without a move.
DESCRIBED = {("connecting", "down"), ("blocked", "blocked")}


class Watched:
    """A machine, and what it told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.core = LinkState(
            lambda state: self.told.append(("state", state)),
            lambda: self.told.append("ready"),
            lambda reason: self.told.append(("unavailable", reason)),
        )
        self._machine = link_states(self.core)

    def put(self, name: str, reason: Exception | None = None) -> list[Any]:
        """Give it an input; return what it told."""
        del self.told[:]
        arguments = (reason or ValueError("why"),) if name in ("down", "blocked") else ()
        getattr(self._machine, name)(*arguments)
        return list(self.told)


def at(state: str) -> Watched:
    watched = Watched()
    for each in PATHS[state]:
        watched.put(each)
    assert watched.core.name == state
    return watched


class TableTests(SynchronousTestCase):
    """Every (state, input) pair."""

    def test_every_pair_leads_where_the_table_says(self) -> None:
        for state, name in product(STATES, INPUTS):
            watched = at(state)
            watched.put(name)
            self.assertEqual(watched.core.name, MOVES.get((state, name), state), (state, name))

    def test_after_every_pair_the_next_input_leads_where_the_table_says(self) -> None:
        for state, name, after in product(STATES, INPUTS, INPUTS):
            watched = at(state)
            watched.put(name)
            now = MOVES.get((state, name), state)
            watched.put(after)
            self.assertEqual(watched.core.name, MOVES.get((now, after), now), (state, name, after))

    def test_a_move_is_told_once_and_staying_is_not_told(self) -> None:
        for state, name in product(STATES, INPUTS):
            told = at(state).put(name)
            moved = MOVES.get((state, name))
            expected = [("state", moved)] if moved else []
            states = [each for each in told if each[0] == "state"]
            self.assertEqual(states, expected, (state, name))

    def test_ready_is_told_on_each_way_to_it_and_nowhere_else(self) -> None:
        for state, name in product(STATES, INPUTS):
            told = at(state).put(name)
            self.assertEqual(
                told.count("ready"), int(MOVES.get((state, name)) == "ready"), (state, name)
            )

    def test_unavailable_is_told_once_with_the_reason_when_ready_ends(self) -> None:
        reason = ValueError("gone")
        for state, name in product(STATES, ("start", "up", "down", "blocked", "finished")):
            told = at(state).put(name, reason)
            expected = state == "ready" and name in ("down", "blocked")
            self.assertEqual(told.count(("unavailable", reason)), int(expected), (state, name))

    def test_the_state_is_there_before_anyone_is_told(self) -> None:
        names: list[str] = []
        core = LinkState(
            lambda state: names.append(core.name),
            lambda: names.append(core.name),
            lambda reason: names.append(core.name),
        )
        machine = link_states(core)
        machine.start()
        machine.up()
        machine.down(ValueError())
        self.assertEqual(names, ["connecting", "ready", "ready", "connecting", "connecting"])

    def test_the_description_is_the_last_reason(self) -> None:
        for state, name in product(STATES, ("down", "blocked")):
            watched = at(state)
            before = watched.core.description
            watched.put(name, ValueError("the broker is on fire"))
            heard = (state, name) in MOVES or (state, name) in DESCRIBED
            expected = "the broker is on fire" if heard else before
            self.assertEqual(watched.core.description, expected, (state, name))

    def test_every_state_has_a_description(self) -> None:
        for state in STATES:
            self.assertTrue(at(state).core.description, state)

    def test_two_links_share_nothing(self) -> None:
        one, two = at("ready"), at("idle")
        one.put("down")
        self.assertEqual((one.core.name, two.core.name), ("connecting", "idle"))


class ListenersTests(SynchronousTestCase):
    """Callbacks of one kind."""

    def test_each_is_called_once_in_order_until_it_is_taken_back(self) -> None:
        heard: list[Any] = []
        listeners = Listeners("on_x")
        forget = listeners.add(lambda value: heard.append(("a", value)))
        listeners.add(lambda value: heard.append(("b", value)))
        listeners(1)
        forget()
        forget()
        listeners(2)
        self.assertEqual(heard, [("a", 1), ("b", 1), ("b", 2)])

    def test_one_that_fails_is_logged_and_stops_no_other(self) -> None:
        heard: list[int] = []
        listeners = Listeners("on_x")
        listeners.add(lambda value: 1 // value)
        listeners.add(heard.append)
        listeners(0)
        self.assertEqual(heard, [0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_that_is_taken_back_or_added_during_a_call_harms_nobody(self) -> None:
        heard: list[str] = []
        listeners = Listeners("on_x")

        def once() -> None:
            heard.append("once")
            forget()
            listeners.add(lambda: heard.append("late"))

        forget = listeners.add(once)
        listeners.add(lambda: heard.append("always"))
        listeners()
        self.assertEqual(heard, ["once", "always"])
        listeners()
        self.assertEqual(heard, ["once", "always", "always", "late"])
