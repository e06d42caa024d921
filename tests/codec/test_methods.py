"""Method arguments: every method of pamqp both ways, and refusals that name the argument."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp import base, commands
from twisted.trial.unittest import SynchronousTestCase

from tests.amqp_values import exact, octets, short_texts, tables, texts
from twbridge.codec.methods import decode_method, encode_method
from twbridge.errors import EncodeError, FrameError

METHODS: list[Any] = list(commands.INDEX_MAPPING.values())

_STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "bit": st.booleans(),
    "octet": octets,
    "short": st.integers(0, 2**16 - 1),
    "long": st.integers(0, 2**32 - 1),
    "longlong": st.integers(0, 2**64 - 1),
    "shortstr": short_texts,
    "longstr": texts,
    "table": tables,
}


def made(kind: Any, values: dict[str, Any]) -> Any:
    """A method with these arguments, unchecked: pamqp checks names when it makes one."""
    method = kind.__new__(kind)
    for name, value in values.items():
        setattr(method, name, value)
    return method


def fields(method: Any) -> dict[str, Any]:
    return {name: getattr(method, name) for name in method.__slots__}


class RoundTripTests(SynchronousTestCase):
    """What is encoded arrives as it was."""

    @given(st.sampled_from(METHODS), st.data())
    def test_every_method_arrives_with_its_arguments(self, kind: Any, draw: st.DataObject) -> None:
        values = {
            name: draw.draw(_STRATEGIES[kind.amqp_type(name)], name) for name in kind.__slots__
        }
        data = encode_method(made(kind, values))
        self.assertEqual(data[:4], kind.index.to_bytes(4, "big"))
        decoded = decode_method(kind.index, data[4:])
        self.assertIs(type(decoded), kind)
        self.assertEqual(exact(fields(decoded)), exact(values))

    def test_the_bytes_are_those_of_pamqp(self) -> None:
        samples: list[base.Frame] = [
            commands.Queue.Declare(queue="q", durable=True, arguments={"x-queue-type": "quorum"}),
            commands.Queue.Declare(queue="q", passive=True, exclusive=True, nowait=True),
            commands.Exchange.Declare(exchange="e", exchange_type="topic", internal=True),
            commands.Basic.Consume(queue="q", consumer_tag="t", no_ack=True),
            commands.Basic.Qos(prefetch_count=20, global_=True),
            commands.Connection.TuneOk(2047, 131072, 60),
            commands.Connection.Open("v"),
            commands.Channel.Close(404, "NOT_FOUND", 60, 40),
            commands.Confirm.Select(),
        ]
        for method in samples:
            expected = method.index.to_bytes(4, "big") + method.marshal()
            self.assertEqual(encode_method(method), expected, method.name)

    @given(short_texts)
    def test_names_may_be_any_text(self, name: str) -> None:
        for kind in (commands.Queue.Declare, commands.Queue.Bind):
            method = made(kind, fields(kind()) | {"queue": name})
            decoded: Any = decode_method(kind.index, encode_method(method)[4:])
            self.assertEqual(decoded.queue, name)

    def test_none_is_the_empty_value(self) -> None:
        for kind in METHODS:
            data = encode_method(made(kind, dict.fromkeys(kind.__slots__)))
            decoded = decode_method(kind.index, data[4:])
            self.assertFalse(any(fields(decoded).values()), kind.name)


class RefusedTests(SynchronousTestCase):
    """What can't be an argument is an EncodeError that names it."""

    def refused(self, kind: Any, **values: object) -> str:
        with self.assertRaises(EncodeError) as caught:
            encode_method(made(kind, fields(kind()) | values))
        return str(caught.exception)

    def test_a_name_over_255_bytes_is_named(self) -> None:
        for value in ("x" * 256, "é" * 128):
            self.assertIn("queue", self.refused(commands.Queue.Declare, queue=value))
            self.assertIn("routing_key", self.refused(commands.Queue.Bind, routing_key=value))

    def test_a_number_out_of_range_is_named(self) -> None:
        for value in (-1, 65536, 1.5, "many"):
            sentence = self.refused(commands.Basic.Qos, prefetch_count=value)
            self.assertIn("prefetch_count", sentence)

    def test_a_value_of_the_wrong_type_is_named(self) -> None:
        self.assertIn("queue", self.refused(commands.Queue.Declare, queue=7))
        self.assertIn("arguments", self.refused(commands.Queue.Declare, arguments="x"))

    def test_an_argument_that_cannot_be_sent_is_named(self) -> None:
        sentence = self.refused(commands.Queue.Declare, arguments={"x-max-age": object()})
        self.assertIn("x-max-age", sentence)


class MalformedTests(SynchronousTestCase):
    """Any bytes give a method or FrameError, never another exception."""

    @given(st.sampled_from(METHODS), st.binary(max_size=60))
    def test_any_arguments(self, kind: Any, data: bytes) -> None:
        try:
            decode_method(kind.index, data)
        except FrameError as error:
            self.assertEqual(error.reply_code, 502)

    @given(st.integers(0, 2**32 - 1).filter(lambda index: index not in commands.INDEX_MAPPING))
    def test_an_unknown_method_is_a_503(self, index: int) -> None:
        with self.assertRaises(FrameError) as caught:
            decode_method(index, b"")
        self.assertEqual(caught.exception.reply_code, 503)

    def test_a_reply_text_that_is_cut_within_a_character_is_readable(self) -> None:
        # RabbitMQ cuts its sentences at 255 bytes, wherever that is.
        for kind in (commands.Channel.Close, commands.Connection.Close):
            data = b"\x01\x94" + b"\x0cNOT_FOUND \xc3\xa9"[:-1].replace(b"\x0c", b"\x0b")
            decoded: Any = decode_method(kind.index, data + b"\x00\x3c\x00\x28")
            self.assertEqual(decoded.reply_code, 404)
            self.assertTrue(decoded.reply_text.startswith("NOT_FOUND "))
            self.assertEqual(decoded.method_id, 40)
