"""basic.deliver with its content as bytes: the frames that go out by the thousand (sans-I/O)."""

from __future__ import annotations

import struct

from twbridge import wire
from twbridge.broker import replies
from twbridge.broker.messages import Message

__all__ = ["deliver_frames", "with_offset"]

_METHOD, _HEADER, _BODY = 1, 2, 3
_deliver_head = struct.Struct(">BHII")
_tag_and_bit = struct.Struct(">QB")
_content_head = struct.Struct(">BHIIQ")
_body_head = struct.Struct(">BHI")
_u32 = struct.Struct(">I")
_i64 = struct.Struct(">q")

#: A table entry up to its value: RabbitMQ sends the offset as a signed number of 64 bits.
_OFFSET = b"\x0fx-stream-offsetl"
_OFFSET_SIZE = len(_OFFSET) + 8
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS = 0x80, 0x40, 0x20


def deliver_frames(
    channel: int,
    consumer_tag: str,
    delivery_tag: int,
    redelivered: bool,
    message: Message,
    raw_properties: bytes,
    frame_max: int,
) -> bytes:
    """basic.deliver of a message with other properties, or its own.

    Args:
        frame_max: the negotiated limit of a frame in bytes; 0: none.
    """
    body = message.body
    size = len(body)
    if frame_max and size + 8 > frame_max:
        method = replies.deliver(consumer_tag, delivery_tag, redelivered, message)
        return wire.content_frames(channel, method, raw_properties, body, frame_max)
    to, exchange, key = (
        consumer_tag.encode(),
        message.exchange.encode(),
        message.routing_key.encode(),
    )
    head = b"%b%c%b%b%c%b%c%b\xce%b%b\xce" % (
        _deliver_head.pack(_METHOD, channel, 16 + len(to) + len(exchange) + len(key), 0x003C003C),
        len(to),
        to,
        _tag_and_bit.pack(delivery_tag, redelivered),
        len(exchange),
        exchange,
        len(key),
        key,
        _content_head.pack(_HEADER, channel, 12 + len(raw_properties), 0x003C0000, size),
        raw_properties,
    )
    if not size:
        return head
    return b"%b%b%b\xce" % (head, _body_head.pack(_BODY, channel, size), body)


def with_offset(raw_properties: bytes, offset: int) -> bytes:
    """Properties with the header ``x-stream-offset``, which they must not have yet."""
    flags = raw_properties[0]
    at = 2
    if flags & _CONTENT_TYPE:
        at += 1 + raw_properties[at]
    if flags & _CONTENT_ENCODING:
        at += 1 + raw_properties[at]
    entry = _OFFSET + _i64.pack(offset)
    if not flags & _HEADERS:
        return b"%c%b%b%b%b" % (
            flags | _HEADERS,
            raw_properties[1:at],
            _u32.pack(_OFFSET_SIZE),
            entry,
            raw_properties[at:],
        )
    (size,) = _u32.unpack_from(raw_properties, at)
    end = at + 4 + size
    return b"%b%b%b%b%b" % (
        raw_properties[:at],
        _u32.pack(size + _OFFSET_SIZE),
        raw_properties[at + 4 : end],
        entry,
        raw_properties[end:],
    )
