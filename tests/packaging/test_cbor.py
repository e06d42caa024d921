"""The example of a dialect, as a dialect: what it reads and writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import cbor2
from hypothesis import given
from hypothesis import strategies as st
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import delivery
from twbridge import commands
from twbridge.destinations import parse
from twbridge.dialects import ICodec, IDialect
from twbridge.errors import BadFrame, Unroutable
from twbridge.starts import Start

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "dialect" / "twbridge_cbor.py"


def example() -> ModuleType:
    """The module, which is not installed here."""
    spec = importlib.util.spec_from_file_location("twbridge_cbor", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


class CborTests(SynchronousTestCase):
    codec: Any = example().CborDialect()

    def decode(self, **frame: Any) -> commands.Command:
        (command,) = self.codec.decode(cbor2.dumps(frame), True)
        assert not isinstance(command, tuple)
        found: commands.Command = command
        return found

    def test_it_provides_its_interfaces(self) -> None:
        verifyObject(IDialect, self.codec)
        verifyObject(ICodec, self.codec)
        verifyObject(IPlugin, self.codec)

    def test_requests_are_those_of_json(self) -> None:
        log = parse("/stream/log")
        self.assertEqual(
            self.decode(op="subscribe", id=1, destination="/stream/log", **{"from": "offset=5"}),
            commands.Subscribe(1, log, start=Start("offset", 5)),
        )
        self.assertEqual(
            self.decode(op="ack", destination="/stream/log", delivery_tag=3),
            commands.Ack(None, log, 3),
        )

    def test_a_body_is_any_cbor(self) -> None:
        for body, data, content_type in (
            ("text", b"text", "text/plain; charset=utf-8"),
            (b"\xff", b"\xff", "application/octet-stream"),
            ({"a": [1, b"\x00"]}, cbor2.dumps({"a": [1, b"\x00"]}), "application/cbor"),
        ):
            command = self.decode(op="publish", id="p", destination="/topic/a", body=body)
            assert isinstance(command, commands.Publish)
            self.assertEqual(command.body, data)
            self.assertEqual(command.properties, {"content_type": content_type})
            message = delivery("a", data, content_type=content_type)
            frame = self.codec.encoder.encode(parse("/topic/#"), message, offset=7)
            shown = cbor2.loads(frame[2:] if frame[1] < 126 else frame[4:])
            self.assertEqual((shown["body"], shown["offset"]), (body, 7))

    def test_answers_are_those_of_json(self) -> None:
        payload, binary = self.codec.encode(commands.Refused("p", Unroutable(312, "NO_ROUTE")))
        self.assertTrue(binary)
        self.assertEqual(cbor2.loads(payload)["code"], "unroutable")

    def test_an_id_is_one_that_json_has_too(self) -> None:
        identities: tuple[Any, ...] = (True, 1.5, b"x", [], 2**54, 2**70000, "x" * 256)
        for identity in identities:
            for operation in ("publish", "ping"):
                frame = {"op": operation, "id": identity, "destination": "/topic/a", "body": 1}
                self.commands_or_bad_frame(cbor2.dumps(frame), True)
            self.assertRaises(BadFrame, self.decode, op="publish", id=identity)

    @given(st.binary() | values.map(cbor2.dumps), st.booleans())
    def test_any_bytes_are_commands_or_a_bad_frame(self, payload: bytes, binary: bool) -> None:
        self.commands_or_bad_frame(payload, binary)

    @given(
        st.dictionaries(
            st.sampled_from(["id", "destination", "body", "headers", "ack", "from", "x"]),
            values | st.just("/topic/a"),
        ),
        st.sampled_from(["subscribe", "publish", "ack", "ping", "x"]),
        st.data(),
    )
    def test_any_map_is_commands_or_a_bad_frame(
        self, frame: dict[str, Any], operation: str, data: st.DataObject
    ) -> None:
        payload = bytearray(cbor2.dumps({"op": operation} | frame))
        if data.draw(st.booleans()):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        self.commands_or_bad_frame(bytes(payload), True)

    def commands_or_bad_frame(self, payload: bytes, binary: bool) -> None:
        try:
            found = self.codec.decode(payload, binary)
        except BadFrame as error:
            self.assertTrue(error.public)
            return
        self.assertEqual(len(found), 1)
