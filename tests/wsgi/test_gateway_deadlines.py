"""Requests that somebody is too slow for."""

from __future__ import annotations

from tests.wsgi.gateway_case import GatewayCase, ok
from twbridge.wsgi.messages import PIECE, Accepted, Cancel, Failed, Grant, Part
from twbridge.wsgi.ports import Mount


class DeadlineTests(GatewayCase):
    """Somebody is too slow."""

    def test_an_application_that_says_nothing(self) -> None:
        client, _ = self.forward()
        self.say(Accepted("w"))
        self.advance(9.5)
        self.assertEqual(client.status, 0)
        self.advance(1.0)
        self.assertEqual(client.status, 504)
        self.assertEqual(self.told()[-1], Cancel("deadline"))

    def test_it_has_its_time_however_long_the_request_has_waited_before(self) -> None:
        client, _ = self.forward()
        self.assertEqual(self.requests[0].properties["expiration"], "9000")
        self.advance(9.5)
        self.say(Accepted("w"))
        self.advance(5.0)
        self.say(Accepted("w"), control="again")
        self.advance(4.5)
        self.assertEqual(client.status, 0)
        self.advance(1.0)
        self.assertEqual(client.status, 504)
        self.assertEqual(self.told("again")[-1], Cancel("deadline"))

    def test_an_application_that_stops_in_the_middle(self) -> None:
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.advance(9.0)
        self.say(ok(b"a", True))
        self.advance(9.0)
        self.say(Part(1, b"b", True))
        self.advance(9.0)
        self.assertEqual(client.status, 0)
        self.advance(2.0)
        self.assertEqual((client.body, client.status), (b"ab", 504))
        self.assertEqual(self.told()[-1], Cancel("gone"), "it may end by itself")

    def test_a_request_that_nobody_takes(self) -> None:
        client, _ = self.forward()
        self.advance(10.5)
        self.assertEqual(client.status, 504)
        self.assertIn("No worker", str(client.errors[0]))

    def test_a_worker_that_takes_it_after_that_is_told(self) -> None:
        _, forwarded = self.forward()
        forwarded.gone()
        for message in (Accepted("w"), Grant(1), ok(b"", True)):
            self.say(message)
        self.assertEqual(self.told(), [Cancel("gone")] * 3)
        self.say(ok())
        self.say(Failed("app", ""))
        self.say(Accepted("w"), "another-bridges")
        self.assertEqual(len(self.told()), 3)

    def test_a_client_does_not_send_its_body(self) -> None:
        client, _ = self.forward("POST", None)
        self.advance(29.5)
        self.assertEqual(client.status, 0)
        self.advance(1.0)
        self.assertEqual(client.status, 408)
        self.assertEqual(self.link.published, [])

    def test_a_client_does_not_go_on_with_its_body(self) -> None:
        client, _ = self.forward("POST", b"", more=True)
        self.say(Grant(PIECE))
        self.advance(29.5)
        self.assertEqual(client.status, 0)
        self.advance(1.5)
        self.assertEqual(client.status, 408)
        self.assertEqual(self.told()[-1], Cancel("gone"))

    def test_a_client_does_not_take_the_answer(self) -> None:
        client, forwarded = self.forward()
        self.say(ok(b"abc", True))
        self.advance(59.0)
        forwarded.drained(1)
        self.advance(59.0)
        self.assertEqual(client.status, 0)
        self.say(Part(1, b"d", True))
        self.advance(2.0)
        self.assertEqual(client.status, 408)
        self.assertEqual(self.told()[-1], Cancel("gone"))

    def test_short_times_are_kept_within_a_quarter_of_a_second(self) -> None:
        client, _ = self.forward(mount=Mount("/app", timeout=0.5))
        self.advance(0.75)
        self.assertEqual(client.status, 504)

    def test_nothing_ticks_while_nothing_is_pending(self) -> None:
        for _ in range(10):
            self.forward()
            self.say(ok())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.advance(0.5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_ended_leaves_nothing_behind(self) -> None:
        client, forwarded = self.forward()
        self.say(ok())
        forwarded.gone()
        forwarded.drained(1)
        forwarded.upload(b"", False)
        self.say(Part(1, b"", False))
        self.assertEqual(client.pieces, 1)
        self.assertEqual(len(self.link.published), 1)
