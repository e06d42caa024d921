"""What the log says of a broker that is away."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from twbridge.link.states import Away


class AwayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.away = Away("amqp://broker")

    def said(self, *steps: tuple[float, str]) -> list[str]:
        """The lines for failures at these times; an empty reason is the end."""
        with capturedLogs() as events:
            for now, reason in steps:
                if reason:
                    self.away.failed(reason, now)
                else:
                    self.away.ended(now)
        return [
            f"{event['log_level'].name} {event['log_format']}".split("{")[0].strip()
            + f" {event.get('reason', event.get('seconds', ''))}"
            for event in events
        ]

    def test_the_first_failure_and_each_new_reason_are_told(self) -> None:
        lines = self.said((0, "refused"), (1, "refused"), (2, "no host"), (3, "no host"))
        self.assertEqual(len(lines), 2)
        self.assertIn("refused", lines[0])
        self.assertIn("no host", lines[1])

    def test_the_same_reason_is_told_again_once_a_minute(self) -> None:
        lines = self.said(*((float(now), "refused") for now in range(0, 125, 5)))
        self.assertEqual(len(lines), 3)

    def test_the_end_is_told_with_how_long_it_took(self) -> None:
        lines = self.said((10, "refused"), (20, "refused"), (52.4, ""))
        self.assertEqual(lines[-1], f"{LogLevel.info.name} Connected to 42")

    def test_the_next_time_begins_anew(self) -> None:
        lines = self.said((0, "refused"), (1, ""), (2, "refused"))
        self.assertEqual(len(lines), 3)
