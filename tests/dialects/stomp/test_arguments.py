"""The arguments of queues that a client may name."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.dialects.stomp.speaking import Talk
from twbridge import commands
from twbridge.dialects.stomp.arguments import arguments_of
from twbridge.errors import BadFrame

TEN_YEARS = 315_360_000_000
BIG = 2**63 - 1


class ArgumentTests(SynchronousTestCase):
    def refused(self, name: str, *values: str) -> None:
        for value in values:
            error = self.assertRaises(BadFrame, arguments_of, {name: value})
            self.assertTrue(error.public.endswith("."), error.public)

    def test_numbers_have_the_range_that_rabbitmq_takes(self) -> None:
        for name, least, most in (
            ("x-expires", 1, TEN_YEARS),
            ("x-message-ttl", 0, TEN_YEARS),
            ("x-max-length", 0, BIG),
            ("x-max-length-bytes", 0, BIG),
            ("x-max-priority", 0, 255),
        ):
            for number in (least, most):
                self.assertEqual(arguments_of({name: f" {number} "}), {name: number})
            self.refused(
                name, f"{least - 1}", f"{most + 1}", "", "x", "1.5", "1e3", "0x1", "\u0661"
            )
            error = self.assertRaises(BadFrame, arguments_of, {name: f"{most + 1}"})
            self.assertIn(f"{most}.", error.public)

    def test_a_queue_is_classic_or_quorum(self) -> None:
        for name in ("classic", "quorum", " quorum "):
            self.assertEqual(arguments_of({"x-queue-type": name}), {"x-queue-type": name.strip()})
        self.refused("x-queue-type", "nonsense", "", "Quorum", "classic quorum", "\0", "undefined")

    def test_no_client_makes_a_stream(self) -> None:
        self.refused("x-queue-type", "stream", " stream ")
        for headers in ({"durable": "true", "auto_delete": "false"}, {}):
            found = Talk().one(
                "SUBSCRIBE", id="1", destination="/topic/a", x_queue_type="stream", **headers
            )
            assert isinstance(found, commands.Invalid)
            self.assertEqual(
                found.error.public, "Clients can't make streams: the settings of the bridge do."
            )

    def test_names_fit_into_a_routing_key(self) -> None:
        for name in ("x-dead-letter-exchange", "x-dead-letter-routing-key"):
            for value in ("", "dlx", "x" * 255):
                self.assertEqual(arguments_of({name: f" {value} "}), {name: value})
            self.refused(name, "x" * 256, "\u00e9" * 128)

    def test_others_are_none(self) -> None:
        for name in ("x-foo", "x-overflow", "x-max-age", "x-queue-mode", "x-delivery-limit"):
            self.assertEqual(arguments_of({name: "nonsense"}), {})

    def test_they_are_checked_wherever_a_queue_is_declared(self) -> None:
        for command, destination in (
            ("SUBSCRIBE", "/topic/a"),
            ("SUBSCRIBE", "/exchange/e/a"),
            ("SUBSCRIBE", "/queue/a"),
            ("SEND", "/queue/a"),
        ):
            found = Talk().one(command, id="1", destination=destination, x_queue_type="nonsense")
            assert isinstance(found, commands.Invalid), (command, destination)
            self.assertEqual(
                found.error.public,
                "The header x-queue-type is classic or quorum, not 'nonsense'.",
            )
