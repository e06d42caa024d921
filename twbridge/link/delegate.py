"""What the broker may ask or tell outside of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamqp import commands
from txamqp.client import TwistedDelegate
from txamqp.message import Message

from twbridge import __version__, wire
from twbridge.codec.properties import short
from twbridge.codec.tables import encode_table
from twbridge.errors import ChannelClosed, ConnectionClosed
from twbridge.link.channel import Channel

if TYPE_CHECKING:
    from twbridge.link.connection import Connection

#: What we tell the broker that we can do.
CAPABILITIES = (
    "publisher_confirms",
    "consumer_cancel_notify",
    "basic.nack",
    "connection.blocked",
    "authentication_failure_close",
    "exchange_exchange_bindings",
)


class Delegate(TwistedDelegate):
    """What the broker may ask or tell outside of answers."""

    client: Connection

    def connection_start(self, ch: Channel, msg: Message) -> None:
        """Answer with who we are and what we can do; pamqp has no bytes for AMQPLAIN's table."""
        offered = str(msg.mechanisms).split()
        if self.client.mechanism not in offered:
            words = f"the broker offers {', '.join(offered)}, not {self.client.mechanism}"
            self.client.fail(ConnectionClosed(403, words))
            return
        properties = {
            "product": "twbridge",
            "version": __version__,
            "platform": "Python, Twisted, txAMQP",
            "connection_name": self.client.name,
            "capabilities": dict.fromkeys(CAPABILITIES, True),
        }
        payload = (
            b"\x00\x0a\x00\x0b"
            + encode_table(properties)
            + short(self.client.mechanism, "mechanism")
            + len(self.client.response).to_bytes(4, "big")
            + self.client.response
            + short(self.client.locale, "locale")
        )
        size = len(payload).to_bytes(4, "big")
        self.client.write(b"\x01\x00\x00" + size + payload + b"\xce")

    def connection_tune(self, ch: Channel, msg: Message) -> None:
        """Negotiate: the lower of both limits, where 0 means none; the lower heartbeat."""
        self.client.tuned(msg.channel_max, msg.frame_max, msg.heartbeat)
        ch.connection_tune_ok(
            self.client.channel_max, self.client.frame_max, self.client.heartbeatInterval
        )
        self.client.started.fire()

    def connection_close(self, ch: Channel, msg: Message) -> None:
        ch.connection_close_ok()
        self.client.fail(ConnectionClosed(msg.reply_code, msg.reply_text))

    def connection_blocked(self, ch: Channel, msg: Message) -> None:
        self.client.on_blocked(str(msg.reason))

    def connection_unblocked(self, ch: Channel, msg: Message) -> None:
        self.client.on_blocked(None)

    def channel_close(self, ch: Channel, msg: Message) -> None:
        self.client.write(wire.method_frame(ch.id, commands.Channel.CloseOk()))
        error = ChannelClosed(msg.reply_code, msg.reply_text)
        # An id whose own close is on its way stays taken until the broker has answered that.
        if not ch.closed:
            self.client.forget(ch)
        ch.settle(error)

    def basic_cancel(self, ch: Channel, msg: Message) -> None:
        ch.consumers.pop(msg.consumer_tag, None)
        ch.on_cancel(msg.consumer_tag)

    def close(self, reason: object) -> None:
        """TwistedDelegate's half of a close; ``Connection.fail`` does all of it."""
