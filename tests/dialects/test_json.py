"""The JSON dialect."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import delivery
from twbridge import commands
from twbridge.destinations import parse
from twbridge.dialects import ICodec, IDialect
from twbridge.dialects.json import JsonDialect, read_publish
from twbridge.errors import BadFrame, Nacked, NotReady, TwbridgeError
from twbridge.frames import text_frame

THERE = parse("/topic/chat.#")
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)

_OPERATIONS = (*("subscribe", "unsubscribe", "publish", "ack", "nack", "call", "cancel", "ping"),)
_FIELDS = (
    *("id", "destination", "body", "base64", "headers", "properties", "mandatory", "op"),
    *("ack", "prefetch", "from", "overflow", "delivery_tag", "requeue", "task", "timeout"),
)


class DecodingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.codec = JsonDialect()

    def decode(self, frame: object) -> commands.Command:
        payload = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        (command,) = self.codec.decode(payload, False)
        return command

    def published(self, **fields: Any) -> commands.Publish:
        command = self.decode({"op": "publish", "destination": "/topic/a"} | fields)
        assert isinstance(command, commands.Publish), command
        return command

    def invalid(self, frame: object, code: str = "bad_frame", identity: Any = "x") -> str:
        command = self.decode(frame)
        assert isinstance(command, commands.Invalid), command
        self.assertEqual((command.error.code, command.id), (code, identity), command)
        return command.error.public

    def test_it_provides_its_interfaces(self) -> None:
        verifyObject(IDialect, self.codec)
        verifyObject(ICodec, self.codec)

    def test_subscribe_unsubscribe_and_ping(self) -> None:
        self.assertEqual(
            self.decode({"op": "subscribe", "id": "s1", "destination": "/topic/chat.#"}),
            commands.Subscribe("s1", THERE),
        )
        self.assertEqual(
            self.decode({"op": "unsubscribe", "id": 7, "destination": "/topic/chat.#"}),
            commands.Unsubscribe(7, THERE),
        )
        self.assertEqual(self.decode({"op": "ping"}), commands.Ping(None))

    def test_a_string_is_published_as_text(self) -> None:
        found = self.published(body='héllo "🐇"\n')
        self.assertEqual(found.body, 'héllo "🐇"\n'.encode())
        self.assertEqual(found.properties, {"content_type": "text/plain; charset=utf-8"})

    def test_base64_is_published_as_bytes(self) -> None:
        found = self.published(base64=base64.b64encode(b"\xff\xfe").decode())
        self.assertEqual(found.body, b"\xff\xfe")
        self.assertEqual(found.properties, {"content_type": "application/octet-stream"})
        self.assertEqual(self.published(base64="").body, b"")

    def test_any_other_json_is_published_byte_for_byte(self) -> None:
        for body in (b'{"b":1,  "a":1.50}', b"[1e2]", b"null", b"-0", b"12345678901234567890"):
            frame = b'{"op":"publish","destination":"/topic/a","body": ' + body + b" }"
            found = self.decode(frame)
            assert isinstance(found, commands.Publish)
            self.assertEqual(found.body, body)
            self.assertEqual(found.properties, {"content_type": "application/json"})

    def test_properties_and_headers_go_along_and_win(self) -> None:
        properties = {"content_type": "text/x", "priority": 3, "delivery_mode": 1}
        found = self.published(body="a", headers={"h": [1, None]}, properties=properties)
        self.assertEqual(found.properties, properties | {"headers": {"h": [1, None]}})

    def test_mandatory_is_open_where_it_is_not_given(self) -> None:
        self.assertIsNone(self.published(body=1).mandatory)
        self.assertIs(self.published(body=1, mandatory=False).mandatory, False)

    def test_what_is_wrong_is_told_under_its_id(self) -> None:
        good = {"op": "publish", "id": "x", "destination": "/topic/a", "body": 1}
        changes: tuple[dict[str, Any], ...] = (
            {"destination": 5},
            {"destination": None},
            {"mandatory": "yes"},
            {"headers": []},
            {"base64": "AA=="},
            {"properties": {"priority": 256}},
            {"properties": {"priority": "1"}},
            {"properties": {"nothing": 1}},
            {"properties": {"timestamp": -1}},
            {"bodyy": 1},
        )
        for change in changes:
            self.assertTrue(self.invalid(good | change))
        del good["body"]
        self.invalid(good)
        self.invalid(good | {"base64": "%%%"})
        self.invalid({"op": "subscribe", "id": "x"})
        self.invalid({"id": "x"})
        self.invalid({"op": 5, "id": "x"})
        self.invalid(good | {"destination": "nowhere"} | {"body": 1}, "bad_destination")
        self.invalid({"op": "dance", "id": "x"}, "unknown_op")

    def test_a_subscription_has_words_and_numbers_that_make_sense(self) -> None:
        subscribe = {"op": "subscribe", "id": "x", "destination": "/stream/a"}
        changes: tuple[dict[str, Any], ...] = (
            {"ack": "manual"},
            {"ack": None},
            {"overflow": "drop"},
            {"overflow": ""},
            {"prefetch": 0},
            {"prefetch": -1},
            {"prefetch": 2.5},
            {"prefetch": "10"},
            {"prefetch": 2**60},
            {"from": ""},
            {"from": "begin"},
            {"from": "offset"},
            {"from": "offset=-1"},
            {"from": "offset=9007199254740993"},
            {"from": "offset=1e3"},
            {"from": "timestamp=now"},
            {"from": "timestamp=999999999999"},
            {"from": 5},
            {"start": "first"},
        )
        for change in changes:
            self.assertTrue(self.invalid(subscribe | change))

    def test_an_ack_names_a_message(self) -> None:
        for operation in ("ack", "nack"):
            good = {"op": operation, "id": "x", "destination": "/queue/a", "delivery_tag": 1}
            self.assertNotIsInstance(self.decode(good), commands.Invalid)
            changes: tuple[dict[str, Any], ...] = (
                {"delivery_tag": 0},
                {"delivery_tag": -1},
                {"delivery_tag": "1"},
                {"delivery_tag": None},
                {"delivery_tag": 2**60},
                {"multiple": True},
                {"requeue": 1},
            )
            for change in changes:
                self.invalid(good | change)
            self.invalid(good | {"destination": "jobs"}, "bad_destination")
            del good["delivery_tag"]
            self.invalid(good)

    def test_a_call_has_an_id_a_task_and_a_deadline_that_make_sense(self) -> None:
        good = {"op": "call", "id": "x", "task": "add", "body": 1}
        self.assertIsInstance(self.decode(good), commands.Call)
        changes: tuple[dict[str, Any], ...] = (
            {"task": None},
            {"task": 1},
            {"destination": "/task/add"},
            {"timeout": 0},
            {"timeout": -1},
            {"timeout": 3600.1},
            {"timeout": "3"},
            {"timeout": True},
            {"headers": []},
            {"base64": "AA=="},
            {"priority": 1},
        )
        for change in changes:
            self.assertTrue(self.invalid(good | change))
        for name in ("", "a\0", "\x7f", "x" * 201, "é" * 101):
            self.invalid(good | {"task": name}, "bad_destination")
        self.assertIsInstance(self.decode(good | {"task": "é" * 100}), commands.Call)
        unusable: tuple[Any, ...] = (None, 1.5, True, [])
        for operation in ("call", "cancel"):
            for identity in unusable:
                self.invalid(good | {"op": operation, "id": identity}, identity=None)
        del good["id"]
        self.invalid(good, identity=None)
        self.invalid({"op": "cancel", "id": "x", "task": "add"})

    @given(json_values)
    def test_what_a_task_is_sent_and_what_it_says_is_any_json_as_it_was_written(
        self, value: Any
    ) -> None:
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
            frame = f'{{"op":"call","id":1,"task":"t","body":{text}}}'.encode()
            command = self.decode(frame)
            assert isinstance(command, commands.Call)
            if isinstance(value, str):
                self.assertEqual(command.body.decode(), value)
            else:
                self.assertEqual(command.body.decode(), text)
            event = commands.Result(1, command.body, command.content_type)
            told = self.codec.encode(event)
            assert told is not None
            written = json.loads(told[0])["body"]
            self.assertEqual((type(written), written), (type(value), value))
            if not isinstance(value, str):
                self.assertIn(text.encode(), told[0])

    def test_an_id_of_another_kind_is_not_repeated(self) -> None:
        identities: tuple[Any, ...] = ([], {}, 1.5, True, "x" * 256, 2**60)
        for identity in identities:
            self.invalid({"op": "ping", "id": identity}, identity=None)

    def test_what_is_no_object_is_a_bad_frame(self) -> None:
        for payload in (b"", b"[]", b'"a"', b"{", b"\xff", b'{"op":"\xff"}', b"{}x", b"[" * 9999):
            self.assertRaises(BadFrame, self.codec.decode, payload, False)
        self.assertRaises(BadFrame, self.codec.decode, b'{"op":"ping"}', True)

    def test_bytes_that_are_not_utf8_are_refused_in_a_body_too(self) -> None:
        frame = b'{"op":"publish","id":"x","destination":"/topic/a","body":["\xff"]}'
        self.assertIn("UTF-8", self.invalid(frame))

    def test_a_body_that_is_nested_too_deeply_is_refused(self) -> None:
        frame = b'{"op":"publish","destination":"/topic/a","body":' + b"[" * 5000
        self.assertRaises(BadFrame, self.codec.decode, frame + b"]" * 5000 + b"}", False)

    @given(st.binary())
    def test_any_bytes_are_commands_or_a_bad_frame(self, payload: bytes) -> None:
        self.commands_or_bad_frame(payload)

    @given(
        st.sampled_from(
            ["subscribe", "unsubscribe", "publish", "ack", "nack", "call", "cancel", "ping", "x"]
        ),
        st.dictionaries(
            st.sampled_from(_FIELDS),
            json_values | st.sampled_from(["/topic/a", "client", "first", "offset=9", "latest", 1]),
        ),
        st.data(),
    )
    def test_any_object_is_commands_or_a_bad_frame(
        self, operation: str, fields: dict[str, Any], data: st.DataObject
    ) -> None:
        payload = bytearray(json.dumps({"op": operation} | fields).encode())
        if data.draw(st.booleans()):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        self.commands_or_bad_frame(bytes(payload))

    def commands_or_bad_frame(self, payload: bytes) -> None:
        with contextlib.suppress(BadFrame):
            self.assertIsInstance(read_publish(payload), commands.Publish | commands.Invalid)
        for binary in (False, True):
            try:
                found = self.codec.decode(payload, binary)
            except BadFrame as error:
                self.assertTrue(error.public)
                continue
            self.assertEqual(len(found), 1)

    def test_a_publish_alone_needs_no_op(self) -> None:
        wanted = commands.Publish(
            5, parse("/topic/a"), b"x", {"content_type": "text/plain; charset=utf-8"}
        )
        for frame in (
            b'{"id":5,"destination":"/topic/a","body":"x"}',
            b'{"op":"publish","id":5,"destination":"/topic/a","body":"x"}',
        ):
            self.assertEqual(read_publish(frame), wanted)
        for frame, code in (
            (b'{"op":"ping","id":5}', "bad_frame"),
            (b'{"op":"dance","id":5}', "unknown_op"),
            (b'{"id":5,"destination":"/topic/a"}', "bad_frame"),
            (b'{"id":5,"destination":"a","body":1}', "bad_destination"),
        ):
            command = read_publish(frame)
            assert isinstance(command, commands.Invalid)
            self.assertEqual((command.id, command.error.code), (5, code))
        for frame in (b"", b"[]", b"\xff", b"5"):
            self.assertRaises(BadFrame, read_publish, frame)

    @given(json_values)
    def test_every_json_body_goes_both_ways(self, body: Any) -> None:
        found = self.published(body=body)
        message = delivery("k", found.body, **found.properties)
        frame = self.codec.encoder.encode(THERE, message)
        payload = json.loads(frame[frame.index(b'{"op"') :])
        self.assertEqual(payload["body"], json.loads(json.dumps(body)))

    @given(st.binary())
    def test_any_bytes_go_both_ways(self, body: bytes) -> None:
        found = self.published(base64=base64.b64encode(body).decode())
        message = delivery("k", found.body, **found.properties)
        frame = self.codec.encoder.encode(THERE, message)
        payload = json.loads(frame[frame.index(b'{"op"') :])
        self.assertEqual(base64.b64decode(payload["base64"]), body)


class MessageTests(SynchronousTestCase):
    def encode(self, body: bytes, **properties: Any) -> dict[str, Any]:
        message = delivery("chat.a", body, **properties)
        frame = JsonDialect().encoder.encode(THERE, message)
        payload = frame[2:] if frame[1] < 126 else frame[4:]
        self.assertEqual(frame, text_frame(payload))
        found: dict[str, Any] = json.loads(payload)
        return found

    def test_the_whole_message(self) -> None:
        found = self.encode(
            b'{"a": 1}', content_type="application/json", priority=3, headers={"h": 1}
        )
        self.assertEqual(
            found,
            {
                "op": "message",
                "destination": "/topic/chat.#",
                "routing_key": "chat.a",
                "headers": {"h": 1},
                "properties": {"content_type": "application/json", "priority": 3},
                "body": {"a": 1},
            },
        )

    def test_the_body_is_json_a_string_or_base64(self) -> None:
        for content_type, body, key, wanted in (
            ("application/json", b"[1]", "body", [1]),
            ("Application/JSON; charset=utf-8", b"[1]", "body", [1]),
            ("application/problem+json", b"[1]", "body", [1]),
            ("application/json", b"[1", "body", "[1"),
            ("application/json", b"", "body", ""),
            ("application/json", b'["\xff"]', "base64", "WyL/Il0="),
            ("application/json", b"[" * 5000, "body", "[" * 5000),
            ("text/plain", "é".encode(), "body", "é"),
            ("text/plain", b"\xe9", "base64", "6Q=="),
            ("text/plain; charset=latin-1", "é".encode(), "base64", "w6k="),
            ('text/html; level=1; charset="UTF-8"', b"a", "body", "a"),
            ("application/xml", b"<a/>", "body", "<a/>"),
            ("image/svg+xml", b"<a/>", "body", "<a/>"),
            ("application/octet-stream", b"a", "base64", "YQ=="),
            ("application/x-protobuf", b"a", "base64", "YQ=="),
        ):
            found = self.encode(body, content_type=content_type)
            self.assertEqual(found[key], wanted, content_type)
            self.assertEqual("body" in found, "base64" not in found)

    def test_without_a_content_type_utf8_is_a_string(self) -> None:
        self.assertEqual(self.encode("é".encode())["body"], "é")
        self.assertEqual(self.encode(b"\xff")["base64"], "/w==")

    def test_every_type_of_header_is_shown(self) -> None:
        when = datetime(2024, 1, 2, tzinfo=UTC)
        headers = {"bytes": b"\xff", "when": when, "no": Decimal("1.5"), "nan": float("nan")}
        headers |= {"deep": {"list": [True, None, 2**62]}}
        self.assertEqual(
            self.encode(b"", headers=headers)["headers"],
            {
                "bytes": "/w==",
                "when": "2024-01-02T00:00:00Z",
                "no": "1.5",
                "nan": None,
                "deep": {"list": [True, None, 2**62]},
            },
        )

    def test_a_redelivered_message_says_so(self) -> None:
        message = delivery("a")
        message.redelivered = True
        self.assertIn(b'"redelivered":true', JsonDialect().encoder.encode(THERE, message))


class EventTests(SynchronousTestCase):
    def encode(self, event: commands.Event) -> Any:
        encoded = JsonDialect().encode(event)
        assert encoded is not None
        payload, binary = encoded
        self.assertFalse(binary)
        self.assertIsNone(JsonDialect().closing(event))
        return json.loads(payload)

    def test_an_error_shows_its_code_and_public_sentence_only(self) -> None:
        for error in (Nacked("secret"), NotReady("secret"), TwbridgeError("secret")):
            self.assertEqual(
                self.encode(commands.Refused("p", error, "publish")),
                {"op": "error", "id": "p", "code": error.code, "message": error.public},
            )
            self.assertNotIn("secret", error.public)
