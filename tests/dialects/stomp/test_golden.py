"""Every frame that a server sends, byte for byte, in every version."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.dialects.stomp.speaking import FakeRoute, Talk, dialect
from twbridge import __version__, commands
from twbridge.destinations import parse
from twbridge.dialects.interfaces import ICodec, IDialect
from twbridge.dialects.stomp import SUBPROTOCOLS, stomp_dialects
from twbridge.dialects.stomp.frames import VERSIONS
from twbridge.errors import Unroutable

TOPIC = parse("/topic/a")
SERVER = f"server:twbridge/{__version__}\n".encode()
NAMES = {"1.0": b"1.0", "1.1": b"1.1", "1.2": b"1.2"}


class ServerFrameTests(SynchronousTestCase):
    """CONNECTED, RECEIPT and ERROR; ``test_messages.py`` has MESSAGE."""

    def test_connected(self) -> None:
        for version in VERSIONS:
            talk = Talk(None)
            talk.say("CONNECT", accept_version=version, heart_beat="0,10000")
            self.assertEqual(
                talk.hear(commands.Connected(None, None)),
                b"CONNECTED\n" + SERVER + b"session:5f.1\nheart-beat:10000,0\n"
                b"version:%b\n\n\0" % NAMES[version],
            )

    def test_receipt(self) -> None:
        for event in (
            commands.Published,
            commands.Acknowledged,
            commands.Disconnected,
            commands.Pong,
            lambda identity: commands.Subscribed(identity, TOPIC),
            lambda identity: commands.Unsubscribed(identity, TOPIC),
        ):
            for version in VERSIONS:
                told = Talk(version).hear(event("r-1"))
                self.assertEqual(told, b"RECEIPT\nreceipt-id:r-1\n\n\0")

    def test_a_receipt_is_escaped_as_the_version_says(self) -> None:
        for version, told in (
            ("1.0", b"a:\\ \r"),
            ("1.1", b"a\\c\\\\\\n\r"),
            ("1.2", b"a\\c\\\\\\n\\r"),
        ):
            (found,) = (each for each in VERSIONS if each == version)
            answer = Talk(found).hear(commands.Published("a:\\\n\r"))
            self.assertEqual(answer, b"RECEIPT\nreceipt-id:%b\n\n\0" % told)

    def test_a_receipt_comes_back_as_it_was_sent(self) -> None:
        for version in VERSIONS:
            talk = Talk(version)
            written = "a b" if version == "1.0" else "a\\c\\\\\\n"
            command = talk.one("SEND", destination="/topic/a", receipt=written)
            self.assertEqual(
                talk.hear(commands.Published(command.id)),
                f"RECEIPT\nreceipt-id:{written}\n\n\0".encode(),
            )

    def test_error(self) -> None:
        for version in VERSIONS:
            talk = Talk(version)
            refused = commands.Refused("r", Unroutable(312, "NO_ROUTE"), "publish")
            self.assertEqual(
                talk.hear(refused),
                b"ERROR\nmessage:unroutable\ncontent-type:text/plain\nversion:1.0,1.1,1.2\n"
                b"receipt-id:r\ncontent-length:26\n\nNo queue took the message.\0",
            )


class DialectTests(SynchronousTestCase):
    """The dialects themselves."""

    def test_there_is_one_for_each_subprotocol(self) -> None:
        found = stomp_dialects()
        self.assertEqual([each.subprotocol for each in found], list(SUBPROTOCOLS))
        for each in found:
            self.assertTrue(IDialect.providedBy(each))
            self.assertTrue(ICodec.providedBy(each.codec(FakeRoute())))
            self.assertIs(each.encoders, found[0].encoders)

    def test_every_session_has_its_own_codec(self) -> None:
        one = dialect()
        self.assertIsNot(one.codec(FakeRoute()), one.codec(FakeRoute()))

    def test_words_are_random(self) -> None:
        one = stomp_dialects()[0]
        self.assertNotEqual(one.token(), one.token())
        self.assertGreaterEqual(len(one.token()), 16)
