"""``GET /api/poll``, over the wire."""

from __future__ import annotations

import gc
import weakref
from typing import Any
from urllib.parse import quote

from twisted.internet.error import ConnectionDone

from tests.fake_sockets import FakeSocket
from tests.fakes import delivery
from tests.web.harness import Allow, Answer, HttpCase, answers, request
from twbridge.commands import Subscribe
from twbridge.errors import ChannelClosed, ConnectionClosed, QueueDeleted
from twbridge.session import Session
from twbridge.sockets.front import FrontLimits
from twbridge.sockets.origins import Listener
from twbridge.web.poll import Poll
from twbridge.wire import Delivery

TOPIC = "/api/poll?destination=/topic/a"
QUEUE = "/api/poll?destination=/queue/jobs"
STREAM = "/api/poll?destination=/stream/log"


def tagged(body: bytes, tag: int, **properties: Any) -> Delivery:
    """A delivery with its tag."""
    found = delivery("a", body, **properties)
    found.delivery_tag = tag
    return found


def alive() -> tuple[int, int]:
    """How many polls and sessions there are in memory."""
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    return kinds.count(Poll), kinds.count(Session)


class PollCase(HttpCase):
    """Polls."""

    def ask(self, target: str = TOPIC, *lines: str) -> FakeSocket:
        """A request that was sent, and has no answer yet."""
        socket = self.send(request("GET", target, *lines))
        self.assertEqual(socket.received, b"")
        return socket

    def told(self, socket: FakeSocket, status: int = 200) -> Answer:
        found = self.answer(socket)
        self.assertEqual(found.status, status, found.body)
        return found

    def deliver(self, *bodies: bytes, offsets: int | None = None) -> None:
        """What the broker sends in one read, to the newest consumer."""
        found = []
        for number, body in enumerate(bodies):
            headers = {} if offsets is None else {"x-stream-offset": offsets + number}
            found.append(tagged(body, number + 1, headers=headers))
        self.link.consumers[-1].deliver(*found)

    def status(self, target: str, status: int, code: str, *lines: str) -> Answer:
        """A poll that is refused at once."""
        return self.refused(request("GET", target, *lines), status, code)


class AnswerTests(PollCase):
    """What a poll is answered with."""

    def test_the_first_message_as_the_json_dialect_has_it(self) -> None:
        socket = self.ask()
        self.deliver(b"one", b"two")
        found = self.told(socket)
        self.assertEqual(
            (found.json["op"], found.json["destination"], found.json["body"]),
            ("message", "/topic/a", "one"),
        )
        self.assertEqual(found.fields["cache-control"], "no-store")
        self.assertNotIn("twbridge-missed", found.fields)

    def test_all_that_wait_get_it_and_are_done(self) -> None:
        sockets = [self.ask() for _ in range(4)]
        self.deliver(b"\xff")
        self.assertEqual({self.told(each).json["base64"] for each in sockets}, {"/w=="})
        self.deliver(b"more")
        self.clock.advance(0)
        self.clock.advance(61)
        self.assertEqual([each.received for each in sockets], [b""] * 4)
        self.assertEqual(self.hub.bindings, 0)

    def test_204_at_the_timeout(self) -> None:
        for target, seconds in ((TOPIC, 25), (f"{TOPIC}&timeout=0.5", 0.5), (QUEUE, 25)):
            socket = self.ask(target)
            self.clock.advance(seconds - 0.1)
            self.assertEqual(socket.received, b"")
            self.clock.advance(0.2)
            found = self.told(socket, 204)
            self.assertEqual(found.body, b"")
            self.assertNotIn("content-length", found.fields)

    def test_its_connection_lives_on(self) -> None:
        socket = self.ask()
        self.deliver(b"one")
        self.assertEqual(self.told(socket).json["body"], "one")
        socket.deliver(request("GET", TOPIC))
        self.deliver(b"two")
        self.assertEqual(self.told(socket).json["body"], "two")
        self.assertIsNone(socket.lost)

    def test_requests_behind_it_wait_for_its_end(self) -> None:
        socket = self.connect()
        socket.deliver(request("GET", f"{TOPIC}&timeout=1") * 3)
        self.deliver(b"one")
        self.clock.advance(0)
        self.assertEqual(self.told(socket).json["body"], "one")
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual([each.status for each in answers(socket.take())], [204, 204])

    def test_a_link_that_was_away_meanwhile_is_told(self) -> None:
        socket = self.ask()
        for state in ("connecting", "ready"):
            self.link.become(state)
            self.polls.link_changed(state)
        self.deliver(b"one")
        self.assertEqual(self.told(socket).fields["twbridge-missed"], "unknown")

    def test_a_subscription_that_ends_is_503(self) -> None:
        socket = self.ask(QUEUE)
        self.link.consumers[0].end(QueueDeleted())
        found = self.told(socket, 503)
        self.assertEqual(found.json["code"], "not_ready")
        self.assertIn("retry-after", found.fields)


class QueueTests(PollCase):
    """A queue gives away what was sent, and nothing else."""

    def answered(self) -> list[Any]:
        return self.link.consumers[-1].answered

    def test_one_message_is_taken_and_acknowledged_when_it_is_sent(self) -> None:
        socket = self.ask(QUEUE)
        self.assertEqual(self.link.consumers[0].options["prefetch"], 1)
        self.link.held = True
        self.deliver(b"one")
        self.assertEqual(self.told(socket).json["body"], "one")
        self.assertEqual(self.answered(), [("leave",)])
        self.link.release()
        self.assertEqual(self.answered(), [("leave",), ("ack", 1, False)])
        self.assertTrue(self.link.consumers[0].cancelled)
        self.clock.advance(1)
        self.assertEqual(len(self.answered()), 2)

    def test_what_comes_while_nobody_waits_any_more_goes_back(self) -> None:
        socket = self.ask(QUEUE)
        consumer = self.link.consumers[0]
        consumer._on_delivery(tagged(b"one", 1))
        socket.lose(ConnectionDone())
        self.link.read()
        self.assertEqual(self.answered(), [("nack", 1, True, True)])
        self.assertTrue(consumer.cancelled)

    def test_a_connection_that_is_lost_before_the_acknowledgement_harms_nobody(self) -> None:
        socket = self.ask(QUEUE)
        self.link.held = True
        self.deliver(b"one")
        self.told(socket)
        self.link.cancels[-1].errback(ConnectionClosed(0, "lost"))
        self.link.release()
        self.assertTrue(self.link.consumers[0].cancelled)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_no_image_of_another_site_empties_one_over_plain_http(self) -> None:
        browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)"
        self.status(QUEUE, 403, "forbidden", browser)
        self.status("/api/poll?destination=/amq/queue/jobs", 403, "forbidden", browser)
        self.ask(QUEUE, browser, "Sec-Fetch-Site: same-origin")
        self.ask(TOPIC, browser)

    def test_no_browser_empties_one_by_opening_its_url(self) -> None:
        typed = "Sec-Fetch-Site: none"
        for lines in (
            (typed, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
            (typed, "Sec-Fetch-Mode: navigate"),
            ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
            (typed, "Sec-Fetch-Dest: empty", "Sec-Purpose: prefetch;prerender"),
            ("Sec-Fetch-Site: same-origin", "Purpose: prefetch"),
        ):
            self.status(QUEUE, 403, "forbidden", *lines)
        self.ask(TOPIC, typed, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
        self.ask(QUEUE, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: empty")
        self.ask(QUEUE, typed, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")


class StreamTests(PollCase):
    """A stream goes on where the last poll was."""

    def test_messages_have_their_offsets_and_the_next_begins_behind(self) -> None:
        socket = self.ask(f"{STREAM}&from=first")
        self.deliver(b"zero", b"one", offsets=0)
        found = self.told(socket)
        self.assertEqual((found.json["body"], found.json["offset"]), ("zero", 0))
        self.clock.advance(0)
        self.ask(f"{STREAM}&from={quote('offset=1')}")
        (poll,) = self.polls.waiting
        assert isinstance(poll, Poll)
        (subscribe,) = poll._poll.opening()
        assert isinstance(subscribe, Subscribe)
        self.assertEqual(str(subscribe.start), "offset=1")

    def test_what_retention_has_taken_is_counted(self) -> None:
        socket = self.ask(f"{STREAM}&from={quote('offset=5')}")
        self.deliver(b"nine", offsets=9)
        found = self.told(socket)
        self.assertEqual((found.json["offset"], found.fields["twbridge-missed"]), (9, "4"))


class RefusalTests(PollCase):
    """What can't be polled."""

    def test_what_makes_no_sense_is_422(self) -> None:
        for target, code in (
            ("/api/poll", "bad_frame"),
            ("/api/poll?destination=topic", "bad_destination"),
            (f"{TOPIC}&destination=/topic/b", "bad_frame"),
            (f"{TOPIC}&prefetch=2", "bad_frame"),
            (f"{STREAM}&from=now", "bad_frame"),
            *((f"{TOPIC}&timeout={each}", "bad_frame") for each in ("0", "61", "1e1", "-1", "")),
        ):
            self.status(target, 422, code)
        self.assertEqual(self.link.consumers, [])

    def test_what_only_the_session_knows_is_422_too(self) -> None:
        for target, code in (
            ("/api/poll?destination=/task/t", "bad_destination"),
            (f"{TOPIC}&from=first", "bad_frame"),
            (f"{QUEUE}&from=first", "bad_frame"),
        ):
            found = self.told(self.send(request("GET", target)), 422)
            self.assertEqual(found.json["code"], code)

    def test_a_queue_that_is_not_there_is_404(self) -> None:
        self.link.consume_errors = [ChannelClosed(404, "secret")]
        socket = self.send(request("GET", "/api/poll?destination=/amq/queue/none"))
        found = self.told(socket, 404)
        self.assertEqual(found.json["code"], "not_found")
        self.assertNotIn(b"secret", found.body)

    def test_a_broker_that_is_away_is_503_at_the_timeout_or_before(self) -> None:
        self.link.become("connecting")
        for target, seconds in ((f"{TOPIC}&timeout=3", 3), (TOPIC, 10)):
            socket = self.ask(target)
            self.clock.advance(seconds)
            self.assertEqual(self.told(socket, 503).json["code"], "not_ready")

    def test_other_methods_are_405(self) -> None:
        for method in ("POST", "PUT"):
            found = self.refused(request(method, TOPIC), 405, "bad_frame")
            self.assertEqual(found.fields["allow"], "GET, OPTIONS")

    def test_a_body_is_413(self) -> None:
        self.refused(request("GET", TOPIC, body=b"x"), 413, "too_large")

    def test_without_rules_only_this_machine_may(self) -> None:
        data = request("GET", TOPIC).replace(b"localhost:8080", b"chat.example")
        self.assertEqual(self.told(self.send(data), 403).json["code"], "forbidden")

    def test_an_error_inside_is_500_and_shows_nothing(self) -> None:
        self.link.consume = lambda *_args, **_named: 1 / 0  # type: ignore[assignment,method-assign]
        found = self.told(self.send(request("GET", TOPIC)), 500)
        self.assertNotIn(b"division", found.body)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))


class RuleTests(PollCase):
    """With rules, they decide."""

    rules = (Allow("subscribe", "/topic/a"),)
    listener = Listener()

    def test_what_they_allow_is_waited_for(self) -> None:
        self.ask()

    def test_anything_else_is_403(self) -> None:
        found = self.answer(self.send(request("GET", "/api/poll?destination=/topic/b")))
        self.assertEqual((found.status, found.json["code"]), (403, "forbidden"))


class OriginTests(PollCase):
    """Pages of other origins."""

    listener = Listener(("https://app.example", "self"), loopback=True)

    def test_those_that_are_named_may_read(self) -> None:
        socket = self.ask(TOPIC, "Origin: https://app.example")
        self.polls.link_changed("connecting")
        self.deliver(b"one")
        found = self.told(socket)
        self.assertEqual(found.fields["access-control-allow-origin"], "https://app.example")
        self.assertEqual(found.fields["twbridge-missed"], "unknown")
        self.assertEqual(self.exposed(found), {"twbridge-missed", "retry-after"})

    def exposed(self, found: Answer) -> set[str]:
        """What a page of another origin may read of an answer."""
        return set(found.fields["access-control-expose-headers"].lower().split(", "))

    def test_they_may_read_when_to_come_back(self) -> None:
        origin = "Origin: https://app.example"
        self.link.become("connecting")
        socket = self.ask(f"{TOPIC}&timeout=3", origin)
        self.clock.advance(3)
        found = self.told(socket, 503)
        self.assertIn("retry-after", self.exposed(found) & set(found.fields))
        self.polls.close_all()
        found = self.status(TOPIC, 503, "not_ready", origin)
        self.assertIn("retry-after", self.exposed(found) & set(found.fields))
        self.assertNotIn(
            "access-control-expose-headers", self.status(TOPIC, 503, "not_ready").fields
        )

    def test_others_are_403(self) -> None:
        self.status(TOPIC, 403, "forbidden", "Origin: https://evil.example")
        self.status(TOPIC, 403, "forbidden", "Sec-Fetch-Site: cross-site")


class EndTests(PollCase):
    """The end of a poll, by either side."""

    front_limits = FrontLimits(connections=300, connections_per_address=250, requests=10)

    def test_a_client_that_leaves_leaves_nothing(self) -> None:
        self.ask().lose(ConnectionDone())
        self.assertEqual(self.polls.waiting, set())
        self.clock.advance(60)
        self.assertEqual(self.hub.bindings, 0)
        self.assertTrue(self.link.consumers[0].cancelled)

    def test_so_does_one_that_goes_before_it_stands(self) -> None:
        self.link.held = True
        self.ask().lose(ConnectionDone())
        self.link.release()
        self.clock.advance(60)
        self.assertEqual(self.hub.bindings, 0)

    def test_when_the_bridge_stops_those_that_wait_are_sent_away_at_once(self) -> None:
        socket = self.ask()
        done = self.polls.close_all()
        found = self.told(socket, 503)
        self.assertIn("about to stop", found.json["message"])
        self.successResultOf(done)
        self.status(TOPIC, 503, "not_ready")

    def test_200_that_leave_are_gone_from_memory(self) -> None:
        before = alive()
        for target in (TOPIC, QUEUE):
            sockets = [self.ask(target) for _ in range(200)]
            self.sockets.clear()
            self.assertEqual(len(self.polls.waiting), 200)
            left: list[weakref.ref[Any]] = [weakref.ref(each) for each in self.polls.waiting]
            left += [weakref.ref(each.protocol) for each in sockets if each.protocol is not None]
            self.assertEqual(len(left), 400)
            while sockets:
                sockets.pop().lose(ConnectionDone())
            self.assertEqual(self.polls.waiting, set())
            self.link.consumers.clear()
            self.link.consuming.clear()
            self.clock.advance(60)
            now = alive()
            self.assertEqual([each() for each in left if each() is not None], [])
            self.assertEqual(now, before)
