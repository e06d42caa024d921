"""Direct reply-to addresses that clients were given."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twbridge import reply_addresses
from twbridge.codec.properties import encode_properties
from twbridge.dialects.stomp import headers
from twbridge.reply_addresses import ReplyAddresses

NAME = "amq.rabbitmq.reply-to.g1h2.key=="


class ReplyAddressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addresses = ReplyAddresses()

    def test_one_is_known_when_it_was_given(self) -> None:
        self.assertNotIn(NAME, self.addresses)
        self.addresses.give(NAME.encode())
        self.assertIn(NAME, self.addresses)
        self.assertNotIn(NAME + "x", self.addresses)

    def test_any_other_reply_to_is_no_such_address(self) -> None:
        for name in ("", "amq.rabbitmq.reply-to", "jobs", f"/reply-queue/{NAME}"):
            self.addresses.give(name.encode())
            self.assertNotIn(name, self.addresses)
        self.addresses.give(b"amq.rabbitmq.reply-to.\xff")
        self.assertNotIn("amq.rabbitmq.reply-to.\\xff", self.addresses)

    def test_those_given_last_are_known(self) -> None:
        self.patch(reply_addresses, "KNOWN", 2)
        names = [f"amq.rabbitmq.reply-to.{letter}" for letter in "abac"]
        for name in names:
            self.addresses.give(name.encode())
        self.assertEqual([name in self.addresses for name in names], [True, False, True, True])

    def test_a_stomp_client_is_given_that_of_a_message(self) -> None:
        self.patch(headers, "given", self.addresses)
        for reply_to, known in ((f"/reply-queue/{NAME}", False), (NAME, True)):
            lines = headers.message_lines(encode_properties({"reply_to": reply_to}), "1.2")
            self.assertEqual(lines, f"reply-to:/reply-queue/{NAME}\n".encode())
            self.assertIs(NAME in self.addresses, known)
