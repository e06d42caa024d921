"""AMQP 0-9-1 frames to and from bytes (sans-I/O).

:class:`FrameReader` turns whatever a socket gave into events; the functions beside it make bytes.
Both peers use it: the link as a client, the embedded broker as a server. The frames that come by
the thousand (basic.deliver, basic.publish, their headers and bodies, basic.ack and nack) are read
and written directly; every other method goes through pamqp's classes.

Sources: AMQP 0-9-1 specification, sections 2.3.5 (frames) and 4.2 (the grammar);
https://www.rabbitmq.com/amqp-0-9-1-errata.html for the field types.
"""

from __future__ import annotations

import struct

from pamqp import base

from twbridge.codec.events import Confirm, Content, Delivery, Event, Heartbeat, Method
from twbridge.codec.methods import decode_method, encode_method
from twbridge.codec.properties import Properties, decode_properties, encode_properties, short, text
from twbridge.errors import EncodeError, FrameError

__all__ = [
    "FRAME_MIN_SIZE",
    "HEARTBEAT",
    "PROTOCOL_HEADER",
    "Confirm",
    "Content",
    "Delivery",
    "Event",
    "FrameReader",
    "Heartbeat",
    "Method",
    "Properties",
    "ack_frame",
    "content_frames",
    "decode_properties",
    "encode_properties",
    "method_frame",
    "nack_frame",
    "publish_frames",
]

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
FRAME_MIN_SIZE = 4096
#: Bytes that a frame needs around its payload.
FRAME_OVERHEAD = 8

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_END = 0xCE
_DELIVER, _ACK, _NACK = 0x003C003C, 0x003C0050, 0x003C0078
_CONTENT_METHODS = {0x003C0028, 0x003C0032, 0x003C0047}  # basic.publish, return, get-ok

_frame_head = struct.Struct(">BHI")
_u32 = struct.Struct(">I")
_tag_and_bit = struct.Struct(">QB")
_header_body_size = struct.Struct(">4xQ")
_confirm_frame = struct.Struct(">BHIIQBB")
_content_head = struct.Struct(">BHIIQ")
_publish_head = struct.Struct(">BHIIH")


# -- reading ----------------------------------------------------------------------------------


class _Partial:
    """A message whose header or body has not arrived in full."""

    __slots__ = ("chunks", "event", "missing")

    def __init__(self, event: Delivery | Content) -> None:
        self.event = event
        self.missing = -1  # the header comes first
        self.chunks: list[bytes] = []


class FrameReader:
    """Bytes in, events out.

    Args:
        frame_max: the negotiated limit of a frame in bytes; a longer one is an error. 0: none.
        max_body: the longest body that is taken in bytes; a longer one is an error. 0: any.
    """

    def __init__(self, frame_max: int = 0, max_body: int = 0) -> None:
        self.frame_max = frame_max
        self.max_body = max_body
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = FRAME_OVERHEAD
        self._partial: dict[int, _Partial] = {}

    def receive(self, data: bytes) -> list[Event]:
        """Take what the socket gave; return the events that are complete with it, in order.

        Raises:
            FrameError: these bytes are not AMQP; the connection is to be closed with its code.
        """
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        events: list[Event] = []
        try:
            rest = self._frames(data, events)
        except (struct.error, IndexError) as error:
            raise FrameError(501, f"a frame ends too early: {error}") from None
        if rest < len(data):
            self._chunks.append(data[rest:] if rest else data)
            self._have = len(data) - rest
        return events

    def _frames(self, data: bytes, events: list[Event]) -> int:
        """Append the events of all whole frames; return where the first incomplete one begins."""
        start, end = 0, len(data)
        self._need = FRAME_OVERHEAD
        while end - start >= FRAME_OVERHEAD:
            kind, channel, size = _frame_head.unpack_from(data, start)
            stop = start + 7 + size
            if self.frame_max and size + FRAME_OVERHEAD > self.frame_max:
                raise FrameError(501, f"a frame of {size} bytes is over the limit")
            if stop >= end:
                self._need = size + FRAME_OVERHEAD
                break
            if data[stop] != _END:
                raise FrameError(501, f"a frame must end with 0xCE, not {data[stop]:#04x}")
            if kind == _BODY:
                self._body(channel, data[start + 7 : stop], events)
            elif kind == _METHOD:
                self._method(channel, data, start + 7, stop, events)
            elif kind == _HEADER:
                self._header(channel, data, start + 7, stop, events)
            elif kind == _HEARTBEAT:
                events.append(Heartbeat())
            else:
                raise FrameError(501, f"there is no frame type {kind}")
            start = stop + 1
        return start

    def _method(
        self, channel: int, data: bytes, start: int, stop: int, events: list[Event]
    ) -> None:
        if stop - start < 4:
            raise FrameError(501, "a method frame without a method")
        (method_id,) = _u32.unpack_from(data, start)
        if channel in self._partial:
            raise FrameError(505, "a method came before the content of the last one was complete")
        if method_id == _DELIVER:
            at = start + 5 + data[start + 4]
            consumer_tag = text(data[start + 5 : at])
            delivery_tag, redelivered = _tag_and_bit.unpack_from(data, at)
            at += 10
            after = at + data[at - 1]
            exchange = text(data[at:after])
            if after + 1 + data[after] != stop:
                raise FrameError(502, "malformed arguments of Basic.Deliver")
            routing_key = text(data[after + 1 : after + 1 + data[after]])
            self._partial[channel] = _Partial(
                Delivery(
                    channel, consumer_tag, delivery_tag, redelivered == 1, exchange, routing_key
                )
            )
        elif method_id in (_ACK, _NACK):
            if stop - start != 13:
                raise FrameError(502, "malformed arguments of Basic.Ack or Basic.Nack")
            tag, bits = _tag_and_bit.unpack_from(data, start + 4)
            events.append(Confirm(channel, tag, bool(bits & 1), method_id == _ACK, bool(bits & 2)))
        else:
            method = decode_method(method_id, data[start + 4 : stop])
            if method_id in _CONTENT_METHODS:
                self._partial[channel] = _Partial(Content(channel, method))
            else:
                events.append(Method(channel, method))

    def _header(
        self, channel: int, data: bytes, start: int, stop: int, events: list[Event]
    ) -> None:
        partial = self._partial.get(channel)
        if partial is None or partial.missing >= 0:
            raise FrameError(505, "a content header came without its method")
        if stop - start < 14:
            raise FrameError(501, "a content header is too short")
        (size,) = _header_body_size.unpack_from(data, start)
        if self.max_body and size > self.max_body:
            raise FrameError(501, f"a body of {size} bytes is over the limit of {self.max_body}")
        partial.event.raw_properties = data[start + 12 : stop]
        partial.missing = size
        if not size:
            del self._partial[channel]
            events.append(partial.event)

    def _body(self, channel: int, payload: bytes, events: list[Event]) -> None:
        partial = self._partial.get(channel)
        if partial is None or partial.missing < 0:
            raise FrameError(505, "a content body came without its header")
        partial.missing -= len(payload)
        if partial.missing > 0:
            partial.chunks.append(payload)
            return
        if partial.missing < 0:
            raise FrameError(501, "a content body is longer than its header said")
        del self._partial[channel]
        if partial.chunks:
            partial.chunks.append(payload)
            payload = b"".join(partial.chunks)
        partial.event.body = payload
        events.append(partial.event)


# -- writing ----------------------------------------------------------------------------------


def method_frame(channel: int, method: base.Frame) -> bytes:
    """The frame of a pamqp method.

    Raises:
        EncodeError: an argument that can't be encoded.
    """
    payload = encode_method(method)
    return _frame_head.pack(_METHOD, channel, len(payload)) + payload + b"\xce"


def content_frames(
    channel: int, method: base.Frame, raw_properties: bytes, body: bytes, frame_max: int
) -> bytes:
    """A pamqp method with its content: method, header and body frames in one piece."""
    return method_frame(channel, method) + _content(channel, raw_properties, body, frame_max)


def publish_frames(
    channel: int,
    exchange: str,
    routing_key: str,
    raw_properties: bytes,
    body: bytes,
    mandatory: bool,
    frame_max: int,
) -> bytes:
    """basic.publish with its content in one piece, the body copied once.

    Args:
        frame_max: the negotiated limit of a frame in bytes; 0: none.

    Raises:
        EncodeError: a name over 255 bytes, or properties that do not fit into one frame
            (a header frame can't be split, section 2.3.5.2).
    """
    to, key = short(exchange, "exchange"), short(routing_key, "routing key")
    if frame_max and len(raw_properties) + 12 + FRAME_OVERHEAD > frame_max:
        raise EncodeError(f"the properties and headers are over {frame_max - 20} bytes")
    head = _publish_head.pack(_METHOD, channel, 7 + len(to) + len(key), 0x003C0028, 0)
    end = b"\x01\xce" if mandatory else b"\x00\xce"
    return head + to + key + end + _content(channel, raw_properties, body, frame_max)


def _content(channel: int, raw_properties: bytes, body: bytes, frame_max: int) -> bytes:
    size = len(body)
    header = _content_head.pack(_HEADER, channel, 12 + len(raw_properties), 0x003C0000, size)
    limit = (frame_max or size + FRAME_OVERHEAD) - FRAME_OVERHEAD
    if size <= limit:
        if not size:
            return b"%b%b\xce" % (header, raw_properties)
        return b"%b%b\xce%b%b\xce" % (
            header,
            raw_properties,
            _frame_head.pack(_BODY, channel, size),
            body,
        )
    parts: list[bytes | memoryview] = [header, raw_properties, b"\xce"]
    view = memoryview(body)
    for start in range(0, size, limit):
        piece = view[start : start + limit]
        parts += (_frame_head.pack(_BODY, channel, len(piece)), piece, b"\xce")
    return b"".join(parts)


def ack_frame(channel: int, delivery_tag: int, multiple: bool = False) -> bytes:
    """basic.ack: a consumer's, or a broker's confirm."""
    return _confirm_frame.pack(_METHOD, channel, 13, _ACK, delivery_tag, multiple, _END)


def nack_frame(
    channel: int, delivery_tag: int, multiple: bool = False, requeue: bool = True
) -> bytes:
    """basic.nack, RabbitMQ's extension."""
    bits = multiple | requeue << 1
    return _confirm_frame.pack(_METHOD, channel, 13, _NACK, delivery_tag, bits, _END)
