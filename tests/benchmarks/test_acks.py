"""The acknowledgements that the benchmarks' clients send."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.acks import JsonAcks, StompAcks, ack_frames
from benchmarks.fanout import BODY
from benchmarks.servers import Bridge, Broker, Watched
from benchmarks.sockets import Address
from twbridge.sockets.inbound import next_message

_BRIDGE = Bridge("twbridge", Address(1), "bench", Watched(1))
_BROKER = Broker("amqp://", Address(1), Watched(1))


def _payloads(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        message = next_message(data, at, 1000)
        assert message is not None
        payload, _, at = message
        found.append(payload)
    return found


class AckFramesTests(SynchronousTestCase):
    """Many in one piece."""

    def test_numbers_grow_past_a_power_of_ten(self) -> None:
        expected = [b"ack %d" % number for number in range(8, 102)]
        self.assertEqual(_payloads(ack_frames("ack %d", 8, 102)), expected)

    def test_none_is_no_byte(self) -> None:
        self.assertEqual(ack_frames("ack %d", 8, 8), b"")


class AckTests(SynchronousTestCase):
    """What acknowledges a message, as the first one shows."""

    def test_json(self) -> None:
        text = JsonAcks(_BRIDGE).ack(b'{"op":"message","delivery_tag":1,"body":%b}' % BODY, "q")
        self.assertEqual(text % 7, '{"op":"ack","destination":"/amq/queue/q","delivery_tag":7}')

    def test_stomp_has_the_id_as_the_header_gives_it(self) -> None:
        first = b"MESSAGE\nsubscription:0\nack:T_0@@session-a\\cb@@1\n\n" + BODY + b"\0"
        text = StompAcks(_BROKER).ack(first, "q")
        self.assertEqual(text % 7, "ACK\nid:T_0@@session-a\\cb@@7\n\n\0")

    def test_another_message_than_was_published_is_an_error(self) -> None:
        for first in (b'{"delivery_tag":1,"body":{}}', b'{"delivery_tag":2,"body":%b}' % BODY):
            with self.assertRaisesRegex(ValueError, "The first message is"):
                JsonAcks(_BRIDGE).ack(first, "q")
