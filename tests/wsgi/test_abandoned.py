"""Clients that leave before a worker has their request."""

from __future__ import annotations

from tests.wsgi.gateway_case import MOUNT, GatewayCase, ok
from twbridge.wsgi.abandoned import MOST
from twbridge.wsgi.messages import Accepted, Failed, ToBridge
from twbridge.wsgi.ports import Mount


class AbandonedTests(GatewayCase):
    """What they leave in the queue is not without bounds."""

    def leave(self, count: int) -> None:
        """Clients come and leave."""
        for _ in range(count):
            self.forward()[1].gone()

    def refused(self) -> bool:
        """Whether the next one is."""
        client, forwarded = self.forward()
        forwarded.gone()
        return client.status == 503

    def test_too_many_close_the_mount(self) -> None:
        self.leave(MOST)
        client, _ = self.forward()
        self.assertEqual(client.status, 503)
        self.assertFalse(client.errors[0].unserved)
        self.assertEqual(len(self.requests), MOST)
        other, _ = self.forward(mount=Mount("/other"))
        self.assertEqual(other.errors, [])

    def test_until_they_have_left_the_queue_by_themselves(self) -> None:
        self.leave(MOST)
        self.clock.advance(MOUNT.timeout - 1)
        self.assertTrue(self.refused())
        self.clock.advance(1)
        self.assertFalse(self.refused())

    def test_or_until_workers_have_had_some(self) -> None:
        self.leave(MOST)
        messages: list[ToBridge] = [Accepted("w"), ok(), Failed("app", "")]
        for number, message in enumerate(messages):
            self.say(message, self.id_of(number))
            self.assertFalse(self.refused())
            self.assertTrue(self.refused())

    def test_or_there_is_no_queue(self) -> None:
        self.leave(MOST)
        self.link.give_back(self.requests[0])
        self.assertFalse(self.refused())

    def test_those_that_had_a_worker_do_not_count(self) -> None:
        for _ in range(MOST):
            _, forwarded = self.forward()
            self.say(Accepted("w"))
            forwarded.gone()
        self.assertFalse(self.refused())

    def test_nor_those_that_were_not_sent_or_answered_or_unserved(self) -> None:
        self.link.held = True
        self.leave(MOST)
        self.link.release()
        for _ in range(MOST):
            self.forward()
            self.say(ok())
            self.forward()
            self.link.give_back(self.requests[-1])
        self.assertFalse(self.refused())
