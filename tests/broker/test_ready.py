"""Higher priorities go first; in each of them what came first, requeued or not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.broker.messages import Entry, Message
from twbridge.broker.ready import Priorities, put_back

_commands = st.lists(st.one_of(st.integers(0, 12), st.sampled_from(["take", "back"])), max_size=60)


def entry(position: int, priority: int) -> Entry:
    return Entry(Message("", "q", priority=priority), position)


class PrioritiesTests(SynchronousTestCase):
    @given(_commands)
    def test_it_is_always_sorted_by_priority_and_then_by_position(
        self, commands: list[int | str]
    ) -> None:
        ready, waiting, taken = Priorities(10), list[Entry](), list[Entry]()
        for position, command in enumerate(commands):
            if isinstance(command, int):
                waiting.append(entry(position, command))
                ready.append(waiting[-1])
            elif command == "take" and waiting:
                self.assertIs(ready[0], waiting[0])
                taken.append(ready.popleft())
                waiting.remove(taken[-1])
            elif command == "back":
                put_back(ready, sorted(taken, key=lambda one: one.position))
                waiting += taken
                taken.clear()
            waiting.sort(key=lambda one: (-min(one.message.priority, 10), one.position))
            self.assertEqual((list(ready), len(ready)), (waiting, len(waiting)))
