"""Frames, messages and addresses."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.client import frames
from twbridge.client.addresses import Address, parse_address
from twbridge.client.messages import Message
from twbridge.errors import BadFrame, SettingsError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def message(**fields: Any) -> Message:
    """A message of a frame with these fields."""
    payload = json.dumps({"op": "message", "destination": "/topic/a"} | fields).encode()
    return read(payload)


def read(payload: bytes) -> Message:
    """A message of such a frame."""
    frame = frames.read(payload)
    assert frame is not None
    return Message(frame, payload, 1, lambda *_: False)


class PublishTests(SynchronousTestCase):
    """What is sent."""

    def publish(self, body: Any, **fields: Any) -> dict[str, Any]:
        settings = {"headers": None, "properties": None, "mandatory": None} | fields
        return json.loads(frames.publish("i", "/topic/a", body, **settings))

    @given(VALUES)
    def test_any_json_is_sent_as_it_is(self, body: Any) -> None:
        expected = {"op": "publish", "id": "i", "destination": "/topic/a", "body": body}
        self.assertEqual(self.publish(body), expected)

    @given(st.binary())
    def test_bytes_come_back_as_they_were(self, body: bytes) -> None:
        for kind in (bytes, bytearray, memoryview):
            sent = self.publish(kind(body))
            self.assertNotIn("body", sent)
            self.assertEqual(message(base64=sent["base64"]).body, body)

    def test_the_rest_is_sent_where_it_is_given(self) -> None:
        sent = self.publish("x", headers={"h": [1]}, properties={"priority": 3}, mandatory=False)
        self.assertEqual(
            (sent["headers"], sent["properties"], sent["mandatory"]),
            ({"h": [1]}, {"priority": 3}, False),
        )
        self.assertEqual(set(self.publish("x", headers={})), {"op", "id", "destination", "body"})

    def test_what_json_does_not_have_is_refused(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        for body in (math.nan, math.inf, {1, 2}, object(), "\ud800", loop):
            self.assertRaises(BadFrame, self.publish, body)
        self.assertRaises(BadFrame, self.publish, "x", headers={"h": b"bytes"})
        self.assertRaises(BadFrame, frames.publish, "\ud800", "/topic/a", 1, None, None, None)


class MessageTests(SynchronousTestCase):
    """What comes."""

    def test_text_is_text(self) -> None:
        found = message(body="héllo", properties={"content_type": "text/plain; charset=utf-8"})
        self.assertEqual((found.body, found.text), ("héllo", "héllo"))
        self.assertEqual(found.data, "héllo".encode())
        self.assertFalse(found.is_json)
        self.assertRaises(ValueError, lambda: found.json)

    def test_json_is_its_value_and_its_bytes_are_those_that_were_published(self) -> None:
        for kind in ("application/json", "application/problem+json; charset=utf-8"):
            found = message(body={"a": [1]}, properties={"content_type": kind})
            self.assertEqual((found.body, found.json), ({"a": [1]}, {"a": [1]}))
            self.assertEqual(found.data, b'{"a": [1]}')
        found = message(body="text", properties={"content_type": "application/json"})
        self.assertEqual((found.body, found.json, found.data), ("text", "text", b'"text"'))

    def test_bytes_are_bytes(self) -> None:
        found = message(base64="/wA=")
        self.assertEqual((found.body, found.data), (b"\xff\x00", b"\xff\x00"))
        self.assertEqual(found.text, "\ufffd\x00")
        self.assertEqual(message().body, b"")

    def test_text_that_is_json_can_be_read_as_such(self) -> None:
        self.assertEqual(message(body='{"a": 1}').json, {"a": 1})

    def test_it_knows_the_rest_of_its_frame(self) -> None:
        found = message(
            body=1,
            routing_key="k",
            headers={"h": 1},
            properties={"priority": 3},
            offset=2**60,
            delivery_tag=7,
            redelivered=True,
        )
        self.assertEqual((found.destination, found.routing_key), ("/topic/a", "k"))
        self.assertEqual((found.headers, found.properties), ({"h": 1}, {"priority": 3}))
        self.assertEqual((found.offset, found.delivery_tag, found.redelivered), (2**60, 7, True))
        self.assertIn("/topic/a", repr(found))
        bare = message(body=1)
        self.assertEqual((bare.offset, bare.delivery_tag, bare.redelivered), (None, None, False))

    def test_its_frame_is_given_on_one_line_to_the_last_digit(self) -> None:
        payload = b'{"op":"message","destination":"/topic/a","body":{\n "a": 1.10e400}}'
        found = read(payload)
        self.assertEqual(
            found.line, '{"op":"message","destination":"/topic/a","body":{"a":1.10e400}}'
        )

    @given(st.binary())
    def test_any_bytes_are_a_frame_or_none(self, payload: bytes) -> None:
        self.assertIsInstance(frames.read(payload), frames.Frame | None)


class AddressTests(SynchronousTestCase):
    """Where a bridge is."""

    def test_the_kinds(self) -> None:
        for url, address in (
            ("ws://localhost:8080/ws", Address(False, "localhost", 8080, None, "/ws")),
            ("ws://example.org", Address(False, "example.org", 80, None, "/")),
            ("wss://example.org/a?b=c", Address(True, "example.org", 443, None, "/a?b=c")),
            ("ws://[::1]:81/ws", Address(False, "::1", 81, None, "/ws")),
            ("ws+unix:///run/b.sock:/ws", Address(False, "localhost", 80, "/run/b.sock", "/ws")),
            ("ws+unix:///run/b.sock", Address(False, "localhost", 80, "/run/b.sock", "/")),
            ("ws+unix:///a%3Ab:/x?y=z", Address(False, "localhost", 80, "/a:b", "/x?y=z")),
            ("ws://h/é", Address(False, "h", 80, None, "/%C3%A9")),
        ):
            self.assertEqual(parse_address(url), address)

    def test_the_name_of_the_client_goes_into_the_query(self) -> None:
        self.assertEqual(parse_address("ws://h/a").resource_for("u"), "/a?client=u")
        self.assertEqual(parse_address("ws://h/a?b=c").resource_for("u"), "/a?b=c&client=u")

    def test_it_is_shown_without_its_path(self) -> None:
        for url in ("ws://localhost:80", "wss://[::1]:443", "ws+unix:///run/b.sock"):
            self.assertEqual(str(parse_address(f"{url}:/p" if "unix" in url else f"{url}/p")), url)

    def test_anything_else_is_one_sentence(self) -> None:
        for url, word in (
            ("http://h/", "ws://"),
            ("", "ws://"),
            ("ws://", "no host"),
            ("ws://h:0/", "no port"),
            ("ws://h:99999/", "can't be read"),
            ("ws://[::1/", "can't be read"),
            ("ws://user:secret@h/", "no user"),
            ("ws://h/#x", "fragment"),
            ("ws://h/\r\nX: y", "control character"),
            ("ws://h/a b", "space"),
            ("ws+unix://run/b.sock", "three slashes"),
            ("ws+unix:///run/b.sock:ws", "colon"),
            ("ws+unix:///run/b.sock:/ws#x", "fragment"),
        ):
            with self.assertRaises(SettingsError) as caught:
                parse_address(url)
            self.assertIn(word, str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))

    @given(st.text())
    def test_any_text_is_an_address_or_one_error(self, text: str) -> None:
        for url in (text, f"ws://{text}", f"ws+unix:///{text}"):
            try:
                address = parse_address(url)
            except SettingsError:
                continue
            self.assertTrue(address.resource_for("u").isascii())
            self.assertTrue(address.resource.startswith("/"))
