"""Every frame of the JSON dialect, byte for byte; the formats in its docstrings are true."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any, get_args

from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import delivery
from twbridge import __version__, commands
from twbridge.destinations import Destination, parse
from twbridge.dialects.json import JsonDialect, answers, messages, requests, write_message
from twbridge.errors import ChannelClosed, Forbidden, NotReady, Unroutable
from twbridge.starts import Start

CHAT = parse("/topic/chat.#")
ADD = Destination("task", "add")
JOBS = parse("/queue/jobs")
LOG = parse("/stream/log")
CLIENTS = Path(__file__).parent.parent.parent / "docs" / "clients.md"

REQUESTS: tuple[tuple[bytes, commands.Command], ...] = (
    (
        b'{"op":"subscribe","id":"s1","destination":"/topic/chat.#"}',
        commands.Subscribe("s1", CHAT),
    ),
    (
        b'{"op":"subscribe","id":"s1","destination":"/queue/jobs","ack":"client","prefetch":10}',
        commands.Subscribe("s1", JOBS, ack="client", prefetch=10),
    ),
    (
        b'{"op":"subscribe","destination":"/topic/chat.#","ack":"auto","overflow":"latest"}',
        commands.Subscribe(None, CHAT, overflow="latest"),
    ),
    *(
        (
            b'{"op":"subscribe","destination":"/stream/log","from":"%b"}' % text.encode(),
            commands.Subscribe(None, LOG, start=start),
        )
        for text, start in (
            ("first", Start("first")),
            ("last", Start("last")),
            ("next", Start("next")),
            ("offset=0", Start("offset", 0)),
            ("offset=9007199254740992", Start("offset", 2**53)),
            ("timestamp=1700000000", Start("timestamp", 1_700_000_000)),
        )
    ),
    *(
        (
            b'{"op":"subscribe","destination":"/stream/log","overflow":"%b"}' % overflow.encode(),
            commands.Subscribe(None, LOG, overflow=overflow),
        )
        for overflow in ("close", "drop-oldest", "latest", "block")
    ),
    (
        b'{"op":"subscribe","destination":"/stream/log","prefetch":null,"overflow":null}',
        commands.Subscribe(None, LOG),
    ),
    (
        b'{"op":"unsubscribe","id":7,"destination":"/topic/chat.#"}',
        commands.Unsubscribe(7, CHAT),
    ),
    (
        b'{"op":"publish","id":"p1","destination":"/queue/jobs","body": {"a": 1.50}}',
        commands.Publish("p1", JOBS, b'{"a": 1.50}', {"content_type": "application/json"}),
    ),
    (
        b'{"op":"publish","destination":"/queue/jobs","base64":"AAEC","headers":{"h":1},'
        b'"properties":{"priority":5},"mandatory":false}',
        commands.Publish(
            None,
            JOBS,
            b"\x00\x01\x02",
            {"content_type": "application/octet-stream", "priority": 5, "headers": {"h": 1}},
            False,
        ),
    ),
    (
        b'{"op":"ack","id":1,"destination":"/queue/jobs","delivery_tag":7}',
        commands.Ack(1, JOBS, 7),
    ),
    (
        b'{"op":"nack","destination":"/queue/jobs","delivery_tag":7}',
        commands.Nack(None, JOBS, 7),
    ),
    (
        b'{"op":"nack","id":"n","destination":"/queue/jobs","delivery_tag":7,"requeue":false}',
        commands.Nack("n", JOBS, 7, requeue=False),
    ),
    (
        b'{"op":"call","id":"c1","task":"add","body": [1, 2.50, 9007199254740993]}',
        commands.Call("c1", ADD, b"[1, 2.50, 9007199254740993]", "application/json"),
    ),
    (
        b'{"op":"call","id":2,"task":"a/b \xc3\xa9","body":"\\u00e9\\ud83d\\udc4b","timeout":3600}',
        commands.Call(
            2, Destination("task", "a/b é"), "é👋".encode(), "text/plain; charset=utf-8", 3600.0
        ),
    ),
    (
        b'{"op":"call","id":"c2","task":"add","base64":"AAEC","timeout":2.5,"headers":{"h":1}}',
        commands.Call(
            "c2", ADD, b"\x00\x01\x02", "application/octet-stream", 2.5, headers={"h": 1}
        ),
    ),
    *(
        (
            b'{"op":"call","id":"c1","task":"add"%b}' % rest,
            commands.Call("c1", ADD, b"null", "application/json"),
        )
        for rest in (b"", b',"body":null', b',"timeout":null,"headers":null')
    ),
    (b'{"op":"cancel","id":"c1"}', commands.Cancel("c1")),
    (b'{"op":"ping"}', commands.Ping(None)),
    (b'{"op":"ping","id":"1"}', commands.Ping("1")),
)

ANSWERS: tuple[tuple[commands.Event, bytes], ...] = (
    (
        commands.Welcome("5f.1", "5f", 25.0, None, 1 << 20),
        b'{"op":"welcome","session":"5f.1","instance":"5f","server":"twbridge/%b",'
        b'"heartbeat":25,"user":null,"limit":1048576}' % __version__.encode(),
    ),
    (
        commands.Welcome("5f.1", "5f", 0.5, "alice"),
        b'{"op":"welcome","session":"5f.1","instance":"5f","server":"twbridge/%b",'
        b'"heartbeat":0.5,"user":"alice"}' % __version__.encode(),
    ),
    (
        commands.Refused("s1", ChannelClosed(404, "secret"), "subscribe", LOG),
        b'{"op":"error","id":"s1","code":"not_found",'
        b'"message":"There is no such exchange or queue: /stream/log"}',
    ),
    (
        commands.Refused("s1", Forbidden("No rule allows this: a"), "subscribe", LOG),
        b'{"op":"error","id":"s1","code":"forbidden","message":"No rule allows this: a"}',
    ),
    (
        commands.Subscribed("s1", CHAT),
        b'{"op":"subscribed","id":"s1","destination":"/topic/chat.#"}',
    ),
    (commands.Subscribed(None, CHAT), b'{"op":"subscribed","destination":"/topic/chat.#"}'),
    (
        commands.Unsubscribed("u1", CHAT),
        b'{"op":"unsubscribed","id":"u1","destination":"/topic/chat.#"}',
    ),
    (
        commands.Unsubscribed(None, JOBS, "The queue was deleted."),
        b'{"op":"unsubscribed","destination":"/queue/jobs","reason":"The queue was deleted."}',
    ),
    (commands.Published("p1"), b'{"op":"published","id":"p1"}'),
    (commands.Published(0), b'{"op":"published","id":0}'),
    (commands.Published(""), b'{"op":"published","id":""}'),
    (commands.Published(None), b'{"op":"published"}'),
    (
        commands.Refused("p1", Unroutable(312, "NO_ROUTE"), "publish"),
        b'{"op":"error","id":"p1","code":"unroutable","message":"No queue took the message."}',
    ),
    (
        commands.Progress("c1", b'{"done": 3.0}', "application/json"),
        b'{"op":"progress","id":"c1","body":{"done": 3.0}}',
    ),
    (
        commands.Progress(7, "é".encode(), "text/plain; charset=utf-8"),
        b'{"op":"progress","id":7,"body":"\xc3\xa9"}',
    ),
    (
        commands.Result("c1", b"[1.50, 9007199254740993]", "application/json"),
        b'{"op":"result","id":"c1","body":[1.50, 9007199254740993]}',
    ),
    (
        commands.Result("c1", b"null", "application/json", {}),
        b'{"op":"result","id":"c1","body":null}',
    ),
    (
        commands.Result("c2", b"\x00\x01\x02", "application/octet-stream", {"width": 64}),
        b'{"op":"result","id":"c2","base64":"AAEC","headers":{"width":64}}',
    ),
    (
        commands.Refused(None, NotReady("secret")),
        b'{"op":"error","code":"not_ready",'
        b'"message":"The message broker is not reachable at the moment."}',
    ),
    (commands.LinkChanged(False), b'{"op":"link","state":"down"}'),
    (commands.LinkChanged(True), b'{"op":"link","state":"up"}'),
    (
        commands.Dropped(CHAT, 12),
        b'{"op":"dropped","destination":"/topic/chat.#","count":12}',
    ),
    (commands.Gap(CHAT), b'{"op":"gap","destination":"/topic/chat.#"}'),
    (commands.Gap(LOG, 42, 100), b'{"op":"gap","destination":"/stream/log","from":42,"to":100}'),
    (commands.Gap(LOG, 42, 0), b'{"op":"gap","destination":"/stream/log","from":42,"to":0}'),
    (commands.Drain(4.0), b'{"op":"drain","reconnect_after":4}'),
    (commands.Drain(1.25), b'{"op":"drain","reconnect_after":1.25}'),
    (commands.Pong("1"), b'{"op":"pong","id":"1"}'),
    (commands.Pong(None), b'{"op":"pong"}'),
)


class GoldenTests(SynchronousTestCase):
    """What is on the wire."""

    def test_requests(self) -> None:
        for payload, wanted in REQUESTS:
            self.assertEqual(JsonDialect().decode(payload, False), (wanted,))

    def test_answers(self) -> None:
        for event, wanted in ANSWERS:
            self.assertEqual(JsonDialect().encode(event), (wanted, False))

    def test_every_command_and_event_is_among_them(self) -> None:
        others = {commands.Connect, commands.Disconnect, commands.Commit}
        self.assertEqual(
            {type(command) for _, command in REQUESTS} | {commands.Invalid},
            set(get_args(commands.Command)) - others,
        )
        others = {commands.Connected, commands.Disconnected, commands.Acknowledged}
        self.assertEqual(
            {type(event) for event, _ in ANSWERS}, set(get_args(commands.Event)) - others
        )

    def test_who_acknowledges_is_told_of_errors_only(self) -> None:
        self.assertIsNone(JsonDialect().encode(commands.Acknowledged(1)))

    def test_a_live_message(self) -> None:
        message = delivery("chat.a", b'{"a": 1}', content_type="application/json", priority=3)
        self.assertEqual(
            write_message(CHAT, message),
            b'{"op":"message","destination":"/topic/chat.#","routing_key":"chat.a","headers":{},'
            b'"properties":{"content_type":"application/json","priority":3},"body":{"a": 1}}',
        )

    def test_a_message_of_a_queue(self) -> None:
        message = delivery("jobs", b"\x00\x01\x02", content_type="application/octet-stream")
        message.redelivered = True
        self.assertEqual(
            write_message(JOBS, message, delivery_tag=7),
            b'{"op":"message","destination":"/queue/jobs","routing_key":"jobs","headers":{},'
            b'"properties":{"content_type":"application/octet-stream"},"base64":"AAEC",'
            b'"delivery_tag":7,"redelivered":true}',
        )

    def test_a_message_of_a_stream_has_its_offset_in_one_place(self) -> None:
        headers = {"a": 1, "x-stream-offset": 0, "b": 2}
        message = delivery("a", b"text", headers=headers)
        wanted = (
            b'{"op":"message","destination":"/stream/log","routing_key":"a",'
            b'"headers":{"a":1,"b":2},"properties":{},"body":"text","offset":0}'
        )
        self.assertEqual(write_message(LOG, message, offset=0), wanted)
        self.assertEqual(write_message(LOG, message, offset=0), wanted)
        self.assertEqual(message.headers, headers)

    def test_elsewhere_that_header_is_one_like_any_other(self) -> None:
        message = delivery("a", b"text", headers={"x-stream-offset": 5})
        self.assertIn(b'"headers":{"x-stream-offset":5}', write_message(CHAT, message))


class FormatTests(SynchronousTestCase):
    """Each class shows its format, and so do the docs."""

    def frames(self, module: Any) -> list[type]:
        return [
            each
            for name, each in vars(module).items()
            if inspect.isclass(each)
            and issubclass(each, Struct)
            and each.__module__ == module.__name__
            and not name.startswith("_")
        ]

    def shown(self, text: str | None) -> list[dict[str, Any]]:
        found = re.findall(r'\{"op":(?:[^`{}]|\{[^{}]*\})*\}', text or "")
        return [json.loads(frame) for frame in found]

    def test_a_request_shows_what_is_read_as_it(self) -> None:
        self.assertEqual(len(self.frames(requests)), 8)
        for kind in self.frames(requests):
            shown = self.shown(kind.__doc__)
            self.assertTrue(shown, kind)
            for frame in shown:
                (command,) = JsonDialect().decode(json.dumps(frame).encode(), False)
                self.assertEqual(type(command).__name__, kind.__name__)

    def test_an_answer_or_a_message_shows_the_fields_that_it_has(self) -> None:
        self.assertEqual(len(self.frames(answers)), 12)
        for kind in (*self.frames(answers), messages.Message):
            shown = self.shown(kind.__doc__)
            self.assertTrue(shown, kind)
            for frame in shown:
                self.assertEqual(frame.pop("op"), kind.__struct_config__.tag)  # type: ignore[attr-defined]
                self.assertLessEqual(set(frame), set(kind.__struct_encode_fields__))  # type: ignore[attr-defined]

    def test_the_documentation_shows_frames_that_are_read(self) -> None:
        shown = [frame for frame in self.shown(CLIENTS.read_text()) if frame["op"] in _ASKED]
        self.assertEqual({frame["op"] for frame in shown}, _ASKED)
        for frame in shown:
            (command,) = JsonDialect().decode(json.dumps(frame).encode(), False)
            self.assertFalse(isinstance(command, commands.Invalid), f"{frame}: {command}")


_ASKED = {"subscribe", "unsubscribe", "publish", "ack", "nack", "call", "cancel", "ping"}
