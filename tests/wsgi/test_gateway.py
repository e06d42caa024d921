"""A request and its answer, on a link that the test drives."""

from __future__ import annotations

from tests.wsgi.gateway_case import GatewayCase, ok, request
from twbridge.wsgi.messages import read_to_worker


class GatewayTests(GatewayCase):
    """What goes well."""

    def test_a_request_is_one_message_and_so_is_its_answer(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"hello", False, ("X-A", "b")))
        self.assertEqual(client.head, (200, "OK", [("X-A", "b")]))
        self.assertEqual((client.body, client.complete), (b"hello", True))
        self.assertEqual(len(self.link.published), 1)
        self.assertEqual(self.gateway.pending, 0)

    def test_a_request_goes_to_the_queue_of_its_mount(self) -> None:
        self.forward("POST", b"body")
        (published,) = self.link.published
        self.assertEqual((published.exchange, published.routing_key), ("", "twbridge.wsgi.app"))
        self.assertTrue(published.mandatory)
        wanted = {"reply_to": "amq.gen-1", "expiration": "10000", "delivery_mode": 1}
        self.assertEqual({key: published.properties[key] for key in wanted}, wanted)
        expected = request("POST")
        expected.body, expected.more = b"body", False
        self.assertEqual(read_to_worker(published.body), expected)
