"""``GET /events``, over the wire."""

from __future__ import annotations

import socket as sockets

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone

from tests.event_stream import Event, EventReader
from tests.fake_sockets import FakeSocket
from tests.fakes import delivery
from tests.web.harness import Allow, Answer, HttpCase, request
from twbridge.commands import Subscribe
from twbridge.errors import ChannelClosed, QueueDeleted
from twbridge.sockets.origins import Listener
from twbridge.sockets.ports import SocketOptions

TOPIC = "/events?destination=/topic/a"
STREAM = "/events?destination=/stream/log&from=first"


class Reader:
    """A reader's end of an open stream."""

    def __init__(self, socket: FakeSocket) -> None:
        self.socket = socket
        self.answer = Answer(socket.take())
        self.events = EventReader()
        self.first = self.events.receive(self.answer.rest)

    def take(self) -> list[Event]:
        """What came since the last look."""
        return self.events.receive(self.socket.take())


class EventsCase(HttpCase):
    """Streams."""

    def ask(self, target: str = TOPIC, *lines: str, address: str = "127.0.0.1") -> FakeSocket:
        lines = ("Accept: text/event-stream", *lines)
        return self.send(request("GET", target, *lines), address)

    def open(self, target: str = TOPIC, *lines: str) -> Reader:
        """A stream whose subscription stands."""
        reader = Reader(self.ask(target, *lines))
        self.assertEqual([event.type for event in reader.first], ["subscribed"])
        return reader

    def status(self, target: str, status: int, code: str, *lines: str) -> Answer:
        """A stream that is refused."""
        return self.refused(request("GET", target, *lines), status, code)


class StreamTests(EventsCase):
    """What is told."""

    def test_it_begins_when_the_broker_has_the_subscription(self) -> None:
        self.link.held = True
        socket = self.ask()
        self.assertEqual(socket.received, b"")
        self.link.release()
        reader = Reader(socket)
        self.assertEqual(reader.answer.status, 200)
        for name, value in (
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
            ("connection", "close"),
        ):
            self.assertEqual(reader.answer.fields[name], value)
        self.assertNotIn("content-length", reader.answer.fields)
        (subscribed,) = reader.first
        self.assertEqual(subscribed.json, {"op": "subscribed", "destination": "/topic/a"})
        self.assertEqual(reader.events.retry, 3000)

    def test_messages_come_as_they_do_to_the_json_dialect(self) -> None:
        reader = self.open()
        self.link.consumers[0].deliver(delivery("a", b"one"), delivery("a", b"\xff"))
        one, two = reader.take()
        self.assertEqual((one.type, one.last_event_id), ("message", ""))
        self.assertEqual((one.json["op"], one.json["body"]), ("message", "one"))
        self.assertEqual(two.json["base64"], "/w==")

    def test_what_is_encoded_once_serves_all(self) -> None:
        one, two = self.open(), self.open()
        self.link.consumers[0].deliver(delivery("a", b"x"))
        self.assertEqual(one.take(), two.take())
        self.assertEqual(len(self.link.consumers), 1)

    def test_the_link_is_told_of(self) -> None:
        reader = self.open()
        for state in ("connecting", "ready"):
            self.link.become(state)
            self.streams.link_changed(state)
        self.assertEqual([event.json["state"] for event in reader.take()], ["down", "up"])

    def test_the_end_of_a_subscription_is_the_end(self) -> None:
        reader = self.open("/events?destination=/queue/jobs")
        self.link.consumers[0].end(QueueDeleted())
        self.clock.advance(0)
        (event,) = reader.take()
        self.assertEqual((event.type, event.json["op"]), ("unsubscribed", "unsubscribed"))
        self.assertIn("reason", event.json)
        self.assertTrue(reader.socket.lost)

    def test_a_silent_stream_has_heartbeats(self) -> None:
        reader = self.open()
        for _ in range(60):
            self.clock.advance(1)
        self.assertEqual(reader.take(), [])
        self.assertEqual(reader.events.comments, 2)
        for _ in range(600):
            self.clock.advance(1)
        self.assertIsNone(reader.socket.lost)

    def test_what_the_reader_says_is_ignored(self) -> None:
        reader = self.open()
        reader.socket.deliver(b"hello\r\n" * 10_000)
        self.link.consumers[0].deliver(delivery("a", b"x"))
        self.assertEqual(len(reader.take()), 1)


class ResumeTests(EventsCase):
    """Streams that go on where they were."""

    def where(self, target: str, *lines: str) -> object:
        """Where the reading begins."""
        socket = self.ask(target, *lines)
        (stream,) = self.streams.streams
        (subscribe,) = stream.codec.opening()
        assert isinstance(subscribe, Subscribe)
        socket.lose(ConnectionDone())
        return str(subscribe.start)

    def test_messages_have_their_offsets_as_ids(self) -> None:
        reader = self.open(STREAM)
        for offset in (0, 1):
            self.link.consumers[-1].deliver(
                delivery("log", b"x", headers={"x-stream-offset": offset})
            )
        events = reader.take()
        self.assertEqual([event.last_event_id for event in events], ["0", "1"])
        self.assertEqual([event.json["offset"] for event in events], [0, 1])
        self.assertEqual(events[0].json["headers"], {})

    def test_the_url_says_where_it_begins(self) -> None:
        self.assertEqual(self.where(STREAM), "first")
        self.assertEqual(self.where("/events?destination=/stream/log&from=offset%3D5"), "offset=5")

    def test_the_last_event_id_wins(self) -> None:
        self.assertEqual(self.where(STREAM, "Last-Event-ID: 41"), "offset=42")
        self.assertEqual(self.where(f"{STREAM}&lastEventId=6"), "offset=7")


class RefusalTests(EventsCase):
    """Before the subscription stands, a refusal is an answer of HTTP."""

    def test_a_queue_that_is_not_there_is_404(self) -> None:
        self.link.consume_errors = [ChannelClosed(404, "secret")]
        answer = self.status("/events?destination=/amq/queue/none", 404, "not_found")
        self.assertNotIn(b"secret", answer.body)

    def test_a_broker_that_is_away_is_503(self) -> None:
        self.link.become("connecting")
        socket = self.ask()
        self.clock.advance(9)
        self.assertEqual(socket.received, b"")
        self.clock.advance(2)
        found = self.answer(socket)
        self.assertEqual((found.status, found.json["code"]), (503, "not_ready"))
        self.assertIn("retry-after", found.fields)
        self.clock.advance(0)
        self.assertTrue(socket.lost)

    def test_what_makes_no_sense_is_422(self) -> None:
        for target, code in (
            ("/events", "bad_frame"),
            ("/events?destination=topic", "bad_destination"),
            ("/events?destination=/task/t", "bad_destination"),
            (f"{TOPIC}&destination=/topic/b", "bad_frame"),
            (f"{TOPIC}&form=first", "bad_frame"),
            (f"{TOPIC}&from=first", "bad_frame"),
            (f"{TOPIC}&overflow=block", "bad_frame"),
            (f"{TOPIC}&ack=client", "bad_frame"),
            ("/events?destination=/queue/q&ack=client", "bad_frame"),
            ("/events?destination=/stream/log&prefetch=1001", "bad_frame"),
            ("/events?destination=%ff", "bad_frame"),
        ):
            self.status(target, 422, code)
        self.status(TOPIC, 422, "bad_frame", "Last-Event-ID: 5")
        self.assertEqual(self.link.consumers, [])

    def test_a_client_that_is_no_uuid_is_400(self) -> None:
        self.status(f"{TOPIC}&client=me", 400, "bad_frame")

    def test_other_methods_are_405(self) -> None:
        for method in ("POST", "PUT"):
            found = self.refused(request(method, TOPIC), 405, "bad_frame")
            self.assertEqual(found.fields["allow"], "GET, OPTIONS")

    def test_an_answer_to_head_has_no_body(self) -> None:
        answer = Answer(self.send(request("HEAD", TOPIC)).take(), bodiless=True)
        self.assertEqual((answer.status, answer.rest), (405, b""))

    def test_without_rules_only_this_machine_may(self) -> None:
        data = request("GET", TOPIC)
        self.refused(data.replace(b"localhost:8080", b"chat.example"), 403, "forbidden")
        self.status(TOPIC, 403, "forbidden", "Forwarded: for=127.0.0.1")

    def test_past_the_limit_of_connections_it_is_503(self) -> None:
        readers = [self.ask(address=f"198.51.100.{i}") for i in range(5)]
        socket = self.ask()
        self.assertEqual(Answer(socket.take()).status, 503)
        readers[0].lose(ConnectionDone())
        self.open()

    def test_an_error_inside_is_500_and_shows_nothing(self) -> None:
        self.link.consume = lambda *_args, **_named: 1 / 0  # type: ignore[assignment,method-assign]
        answer = self.status(TOPIC, 500, "internal")
        self.assertNotIn(b"division", answer.body)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))


class RuleTests(EventsCase):
    """With rules, they decide."""

    rules = (Allow("subscribe", "/topic/a"),)
    listener = Listener()

    def test_what_they_allow_is_streamed(self) -> None:
        self.open()

    def test_anything_else_is_403(self) -> None:
        self.status("/events?destination=/topic/b", 403, "forbidden")


class OriginTests(EventsCase):
    """Pages of other origins."""

    listener = Listener(("https://app.example", "self"), loopback=True)

    def test_those_that_are_named_may_read(self) -> None:
        reader = self.open(TOPIC, "Origin: https://app.example", "Sec-Fetch-Site: cross-site")
        allowed = reader.answer.fields["access-control-allow-origin"]
        self.assertEqual(allowed, "https://app.example")
        answer = self.status("/events", 422, "bad_frame", "Origin: https://app.example")
        self.assertEqual(answer.fields["access-control-allow-origin"], "https://app.example")

    def test_others_are_403(self) -> None:
        self.status(TOPIC, 403, "forbidden", "Origin: https://evil.example")

    def test_a_foreign_page_that_embeds_it_is_403(self) -> None:
        for site in ("cross-site", "same-site"):
            self.status(TOPIC, 403, "forbidden", f"Sec-Fetch-Site: {site}")
        self.open(TOPIC, "Sec-Fetch-Site: same-origin")
        self.open(TOPIC, "Sec-Fetch-Site: none")

    def test_a_polyfill_may_ask_before(self) -> None:
        found = self.answer(self.send(request("OPTIONS", TOPIC, "Origin: https://app.example")))
        self.assertEqual(found.status, 204)
        self.assertEqual(found.fields["access-control-allow-methods"], "GET")
        self.assertIn("last-event-id", found.fields["access-control-allow-headers"])

    def test_no_image_of_another_site_empties_a_queue_over_plain_http(self) -> None:
        browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)"
        queue = "/events?destination=/queue/jobs"
        self.status(queue, 403, "forbidden", browser)
        self.status("/events?destination=/amq/queue/jobs", 403, "forbidden", browser)
        for target, line in (
            (queue, "Sec-Fetch-Site: same-origin"),
            (queue, "Origin: http://localhost:8080"),
            (TOPIC, "Accept-Language: en"),
        ):
            self.open(target, browser, line)
        self.open(queue, "User-Agent: curl/8.0")

    def test_no_browser_empties_a_queue_by_opening_its_url(self) -> None:
        lines = "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"
        self.status("/events?destination=/queue/jobs", 403, "forbidden", *lines)
        self.open(TOPIC, *lines)


class SlowReaderTests(EventsCase):
    """Readers that do not take what is sent."""

    options = SocketOptions(send_buffer=10_000)

    def stall(self, target: str) -> Reader:
        """A reader behind whose socket nothing goes any more."""
        reader = self.open(target)
        reader.socket.reading = False
        self.send_all(b"x" * 70_000)
        self.assertTrue(reader.socket.producer_paused)
        return reader

    def send_all(self, *bodies: bytes) -> None:
        self.link.consumers[0].deliver(*(delivery("a", body) for body in bodies))

    def test_it_is_closed_past_the_limit(self) -> None:
        reader = self.stall(TOPIC)
        for _ in range(5):
            self.send_all(b"y" * 3_000)
        self.assertIsNone(reader.socket.lost)
        for _ in range(5):
            self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(reader.socket.lost)

    def test_others_do_not_notice(self) -> None:
        other = self.open()
        self.stall(TOPIC)
        other.take()
        for _ in range(5):
            self.send_all(b"y" * 3_000)
        self.assertEqual(len(other.take()), 5)

    def test_it_may_lose_the_oldest_and_is_told(self) -> None:
        reader = self.stall(f"{TOPIC}&overflow=drop-oldest")
        for number in range(100):
            self.send_all(b"%d " % number * 200)
        reader.socket.reading = True
        reader.socket.drain()
        messages = reader.take()
        dropped = sum(event.json["count"] for event in messages if event.type == "dropped")
        bodies = [event.json["body"] for event in messages if event.type == "message"][1:]
        self.assertEqual(dropped + len(bodies), 100)
        self.assertTrue(bodies[-1].startswith("99"))
        self.assertLess(len(bodies), 20)

    def test_no_heartbeat_waits_for_it(self) -> None:
        reader = self.stall(TOPIC)
        before = len(reader.socket.buffer)
        for _ in range(60):
            self.clock.advance(1)
        self.assertEqual(len(reader.socket.buffer), before)


class EndTests(EventsCase):
    """The end of a stream, by either side."""

    def test_a_reader_that_goes_away_leaves_nothing(self) -> None:
        reader = self.open()
        reader.socket.lose(ConnectionDone())
        self.assertEqual((self.census.total, self.census.places), (0, {}))
        self.clock.advance(60)
        self.assertEqual(self.hub.bindings, 0)
        self.assertTrue(self.link.consumers[0].cancelled)

    def test_so_does_one_that_goes_before_it_stands(self) -> None:
        self.link.held = True
        self.ask().lose(ConnectionDone())
        self.link.release()
        self.clock.advance(60)
        self.assertEqual(self.hub.bindings, 0)

    def test_when_the_bridge_stops_it_says_when_to_come_back(self) -> None:
        reader = self.open()
        done = self.streams.close_all()
        self.assertNoResult(done)
        self.clock.advance(0)
        self.successResultOf(done)
        (drain,) = reader.take()
        self.assertEqual((drain.type, drain.json["reconnect_after"]), ("drain", 2.75))
        self.assertEqual(reader.events.retry, 2750)
        self.assertTrue(reader.socket.lost)

    def test_one_that_does_not_stand_yet_is_503(self) -> None:
        self.link.held = True
        socket = self.ask()
        done = self.streams.close_all()
        found = self.answer(socket)
        self.assertEqual((found.status, found.json["code"]), (503, "not_ready"))
        self.clock.advance(0)
        self.successResultOf(done)

    def test_new_ones_are_503_then(self) -> None:
        self.successResultOf(self.streams.close_all())
        self.status(TOPIC, 503, "not_ready")

    def test_a_reader_that_does_not_let_go_is_dropped(self) -> None:
        reader = self.open()
        reader.socket.reading = False
        self.link.consumers[0].deliver(delivery("a", b"x"))
        done = self.streams.close_all()
        for _ in range(3):
            self.assertNoResult(done)
            self.clock.advance(1)
        self.clock.advance(0)
        self.successResultOf(done)


class Handle:
    """A socket's handle that remembers its options."""

    def __init__(self) -> None:
        self.options: dict[tuple[int, int], int] = {}

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self.options[level, name] = value


class HandledSocket(FakeSocket):
    """A socket with a handle."""

    def getHandle(self) -> Handle:
        if not hasattr(self, "handle"):
            self.handle = Handle()
        return self.handle


class SilentPeerTests(EventsCase):
    """Readers whose machine is gone."""

    def test_the_kernel_ends_them_as_soon_as_a_websocket_would_be(self) -> None:
        peer = IPv4Address("TCP", "127.0.0.1", 50_000)
        socket = HandledSocket(self.clock, peer)
        socket.protocol = self.front.buildProtocol(peer)
        socket.protocol.makeConnection(socket)
        self.sockets.append(socket)
        socket.deliver(request("GET", TOPIC))
        option = (sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT)
        self.assertEqual(socket.getHandle().options, {option: 45_000})
