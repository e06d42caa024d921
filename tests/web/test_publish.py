"""``POST /api/publish``, over the wire."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectionDone

from tests.fake_sockets import FakeSocket
from tests.web.harness import Allow, Answer, HttpCase, answers, request
from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    Nacked,
    NotReady,
    OutcomeUnknown,
    Unroutable,
)
from twbridge.sockets.origins import Listener

CLIENT = "5f0b1f38-8a8e-4a6e-9d5e-0f1d2c3b4a59"
TYPE = "Content-Type: application/json"


def post(*lines: str, target: str = "/api/publish", **fields: Any) -> bytes:
    """A publish."""
    body = json.dumps({"destination": "/topic/a", "body": 1} | fields).encode()
    return request("POST", target, TYPE, *lines, body=body)


class PublishCase(HttpCase):
    """Requests, and the broker's answers."""

    def publish(self, *lines: str, **fields: Any) -> FakeSocket:
        """A request that waits for the broker."""
        socket = self.send(post(*lines, **fields))
        self.assertEqual(socket.received, b"")
        return socket

    def confirm(self, at: int = -1) -> None:
        self.link.published[at].answer.callback(None)
        self.clock.advance(0)

    def fail_with(self, error: Exception) -> Answer:
        """The answer to a publish that fails so."""
        socket = self.publish(id="p1")
        self.link.published[-1].answer.errback(error)
        self.clock.advance(0)
        found = self.answer(socket)
        self.assertIsNone(socket.lost)
        socket.lose(ConnectionDone())
        return found


class AnswerTests(PublishCase):
    """What became of a message is the answer."""

    def test_200_after_the_confirm_and_not_before(self) -> None:
        socket = self.publish(id="p1", headers={"h": 1}, properties={"type": "t"})
        (published,) = self.link.published
        self.assertEqual(
            (published.exchange, published.routing_key, published.body), ("amq.topic", "a", b"1")
        )
        self.assertEqual(published.properties["headers"], {"h": 1})
        self.assertEqual(published.properties["type"], "t")
        self.confirm()
        found = self.answer(socket)
        self.assertEqual((found.status, found.json), (200, {"op": "published", "id": "p1"}))
        self.assertEqual(found.fields["cache-control"], "no-store")

    def test_an_id_is_not_needed(self) -> None:
        socket = self.publish(op="publish")
        self.confirm()
        self.assertEqual(self.answer(socket).json, {"op": "published"})

    def test_each_error_has_its_status(self) -> None:
        for error, status, code in (
            (Unroutable(312, "NO_ROUTE"), 404, "unroutable"),
            (ChannelClosed(404, "secret"), 404, "not_found"),
            (ChannelClosed(403, "secret"), 403, "forbidden"),
            (ChannelClosed(406, "secret"), 409, "conflict"),
            (Nacked("secret"), 503, "nacked"),
            (NotReady("secret"), 503, "not_ready"),
            (ConfirmTimeout("secret"), 504, "timeout"),
            (OutcomeUnknown("secret"), 504, "unknown"),
        ):
            found = self.fail_with(error)
            self.assertEqual((found.status, found.json["code"]), (status, code))
            self.assertEqual((found.json["op"], found.json["id"]), ("error", "p1"))
            self.assertNotIn("secret", found.json["message"])
            self.assertEqual(found.fields.get("retry-after"), "5" if status == 503 else None)

    def test_an_error_inside_is_500_and_shows_nothing(self) -> None:
        found = self.fail_with(RuntimeError("secret"))
        self.assertEqual((found.status, found.json["code"]), (500, "internal"))
        self.assertNotIn(b"secret", found.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.link.publish_error = RuntimeError("secret")
        found = self.answer(self.send(post()))
        self.assertEqual((found.status, found.json["code"]), (500, "internal"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_what_makes_no_sense_is_422_and_the_connection_lives(self) -> None:
        socket = self.connect()
        for fields, code in (
            ({"destination": "nowhere"}, "bad_destination"),
            ({"destination": 1}, "bad_frame"),
            ({"bdy": 1}, "bad_frame"),
            ({"base64": "AA=="}, "bad_frame"),
            ({"op": "subscribe"}, "bad_frame"),
            ({"headers": {"h": 2**70}}, "bad_frame"),
        ):
            socket.deliver(post(id="p1", **fields))
            found = self.answer(socket)
            self.assertEqual((found.status, found.json["code"]), (422, code), fields)
        self.assertEqual(self.link.published, [])

    def test_what_is_no_json_object_is_400(self) -> None:
        for body in (b"", b"{", b"[]", b'"x"', b"destination=/topic/a"):
            found = self.answer(self.send(request("POST", "/api/publish", TYPE, body=body)))
            self.assertEqual((found.status, found.json["code"]), (400, "bad_frame"), body)
            self.assertEqual(found.json["message"], "The body is not a JSON object in UTF-8.", body)
            self.sockets[-1].lose(ConnectionDone())

    def test_what_is_too_large_is_413(self) -> None:
        self.refused(post(body="x" * 1_000), 413, "too_large")
        chunked = request("POST", "/api/publish", TYPE, "Transfer-Encoding: chunked")
        self.refused(chunked + b"fff\r\n", 413, "too_large")


class ResendingTests(PublishCase):
    """The same id of the same client is applied once."""

    TARGET = f"/api/publish?client={CLIENT}"

    def test_the_second_gets_the_answer_of_the_first(self) -> None:
        first = self.publish(target=self.TARGET, id="p1")
        second = self.publish(
            target=f"/api/publish?client={CLIENT.upper()}",
            id="p1",
        )
        self.assertEqual(len(self.link.published), 1)
        self.assertEqual(self.link.published[0].properties["message_id"], f"{CLIENT}/p1")
        self.confirm()
        self.assertEqual(self.answer(first).status, 200)
        self.assertEqual(self.answer(second).json, {"op": "published", "id": "p1"})
        third = self.send(post(target=self.TARGET, id="p1"))
        self.assertEqual(self.answer(third).status, 200)
        self.assertEqual(len(self.link.published), 1)

    def test_one_whose_client_went_away_is_still_applied_once(self) -> None:
        self.publish(target=self.TARGET, id="p1").lose(ConnectionDone())
        again = self.publish(target=self.TARGET, id="p1")
        self.confirm()
        self.assertEqual(self.answer(again).status, 200)
        self.assertEqual(len(self.link.published), 1)

    def test_a_client_that_is_no_uuid_is_400(self) -> None:
        self.refused(post(target="/api/publish?client=me"), 400, "bad_frame")
        self.refused(post(target=f"{self.TARGET}&client={CLIENT}"), 400, "bad_frame")
        self.refused(post(target="/api/publish?cleint=x"), 422, "bad_frame")
        self.refused(post(target="/api/publish?client=%ff"), 400, "bad_frame")


class ConnectionTests(PublishCase):
    """Connections that live on."""

    def test_one_connection_carries_many_requests(self) -> None:
        socket = self.connect()
        for number in range(5):
            socket.deliver(post(id=number))
            self.confirm()
            found = self.answer(socket)
            self.assertEqual(found.json["id"], number)
            self.assertEqual(found.fields["keep-alive"], "timeout=60")
            self.clock.advance(59)

    def test_requests_ahead_are_answered_in_their_order(self) -> None:
        socket = self.send(post(id=1) + post(id=2, destination="nowhere") + post(id=3))
        self.assertEqual(len(self.link.published), 1)
        self.confirm()
        self.confirm()
        found = [answer.json["id"] for answer in answers(socket.take())]
        self.assertEqual(found, [1, 2, 3])

    def test_they_are_not_read_without_end_meanwhile(self) -> None:
        socket = self.send(post(id=1))
        socket.deliver(b"x" * 70_000)
        self.assertFalse(socket.accepting)
        self.confirm()
        self.assertTrue(socket.accepting)

    def test_requests_may_come_in_any_pieces(self) -> None:
        socket = self.connect()
        for byte in post(id=1) + post(id=2):
            socket.deliver(bytes([byte]))
            if self.link.published and not self.link.published[-1].answer.called:
                self.confirm()
        self.assertEqual([answer.status for answer in answers(socket.take())], [200, 200])

    def test_chunks_are_read_too(self) -> None:
        body = b'{"destination":"/topic/a","body":"x"}'
        head = request("POST", "/api/publish", TYPE, "Transfer-Encoding: chunked")
        socket = self.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) + post())
        self.confirm()
        self.confirm()
        self.assertEqual([answer.status for answer in answers(socket.take())], [200, 200])

    def test_a_client_that_asks_first_is_told_to_go_on(self) -> None:
        whole = post("Expect: 100-continue")
        head, _, body = whole.partition(b"\r\n\r\n")
        socket = self.send(head + b"\r\n\r\n")
        self.assertEqual(socket.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        socket.deliver(body)
        self.confirm()
        self.assertEqual(self.answer(socket).status, 200)
        self.refused_plainly(post("Expect: tea"), 417)

    def test_a_client_of_http_1_0_is_not_told_to_go_on(self) -> None:
        head, _, body = post("Expect: 100-continue").partition(b"\r\n\r\n")
        socket = self.send(head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n\r\n")
        self.assertEqual(socket.take(), b"")
        socket.deliver(body)
        self.confirm()
        self.assertEqual(self.answer(socket).status, 200)

    def refused_plainly(self, data: bytes, status: int) -> None:
        socket = self.send(data)
        found = self.answer(socket)
        self.assertEqual(found.status, status)
        self.assertTrue(socket.lost)

    def test_the_client_may_end_it(self) -> None:
        socket = self.publish("Connection: close")
        self.confirm()
        self.assertEqual(self.answer(socket).fields["connection"], "close")
        self.assertTrue(socket.lost)
        socket = self.send(post().replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.confirm()
        self.assertTrue(socket.lost)

    def test_it_ends_after_so_many_requests(self) -> None:
        socket = self.send(b"".join(post(destination="nowhere") for _ in range(11)))
        found = answers(socket.take())
        self.assertEqual(len(found), 10)
        self.assertEqual(found[-1].fields["connection"], "close")
        self.assertTrue(socket.lost)

    def test_an_idle_one_is_ended_after_a_minute(self) -> None:
        socket = self.publish()
        self.confirm()
        self.clock.advance(59)
        self.assertIsNone(socket.lost)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(socket.lost)

    def test_each_head_has_the_deadline_of_the_first(self) -> None:
        socket = self.publish()
        self.confirm()
        self.clock.advance(50)
        socket.deliver(b"POST")
        self.clock.advance(5)
        self.clock.advance(0)
        self.assertTrue(socket.lost)

    def test_a_body_that_does_not_come_is_408(self) -> None:
        socket = self.send(post()[:-1])
        self.clock.advance(29)
        self.assertEqual(socket.received, b"")
        self.clock.advance(1)
        self.clock.advance(0)
        found = self.answer(socket)
        self.assertEqual((found.status, found.json["code"]), (408, "bad_frame"))
        self.assertTrue(socket.lost)

    def test_every_head_is_checked(self) -> None:
        socket = self.publish()
        self.confirm()
        self.assertEqual(self.answer(socket).status, 200)
        socket.deliver(post("Origin: https://evil.example"))
        self.assertEqual(self.answer(socket).status, 403)
        socket = self.publish()
        self.confirm()
        socket.take()
        socket.deliver(post("X: a\x0bb"))
        self.assertEqual(self.answer(socket).status, 400)

    def test_a_stream_may_follow(self) -> None:
        socket = self.publish()
        self.confirm()
        socket.take()
        socket.deliver(request("GET", "/events?destination=/topic/a"))
        self.assertEqual(Answer(socket.take()).status, 200)

    def test_a_proxys_connection_counts_for_the_client_of_its_latest_request(self) -> None:
        socket = self.send(post("X-Forwarded-For: 198.51.100.1", destination="x"), "10.0.0.1")
        self.assertEqual(self.census.places, {"198.51.100.1": 1})
        socket.deliver(post("X-Forwarded-For: 198.51.100.2", destination="x"))
        self.assertEqual(self.census.places, {"198.51.100.2": 1})

    def test_where_there_are_too_many_connections_it_is_503(self) -> None:
        streams = [
            self.send(request("GET", "/events?destination=/topic/a"), f"198.51.100.{i}")
            for i in range(5)
        ]
        self.refused_plainly(post(), 503)
        streams[0].lose(ConnectionDone())
        self.publish()


class EndTests(PublishCase):
    """The bridge stops."""

    def test_what_is_under_way_is_answered_first(self) -> None:
        socket = self.publish()
        idle = self.send(post(destination="x"))
        idle.take()
        self.front.stopFactory()
        self.clock.advance(0)
        self.assertTrue(idle.lost)
        done = self.calls.close_all()
        self.assertNoResult(done)
        self.confirm()
        self.successResultOf(done)
        found = self.answer(socket)
        self.assertEqual((found.status, found.fields["connection"]), (200, "close"))
        self.assertTrue(socket.lost)

    def test_after_three_seconds_nobody_waits(self) -> None:
        socket = self.publish()
        done = self.calls.close_all()
        self.clock.advance(3)
        self.successResultOf(done)
        self.assertEqual(self.answer(socket).status, 504)
        self.confirm()
        self.assertEqual(socket.received, b"")

    def test_new_ones_are_503(self) -> None:
        self.successResultOf(self.calls.close_all())
        found = self.refused(post(), 503, "not_ready")
        self.assertEqual(found.fields["retry-after"], "5")

    def test_a_client_that_goes_away_leaves_nothing(self) -> None:
        self.link.press(True)
        self.publish().lose(ConnectionDone())
        self.assertEqual(self.calls.waiting, set())
        self.confirm()
        self.link.press(False)


class WrongRequestTests(PublishCase):
    """What is refused before its body is read."""

    def test_only_json_is_taken(self) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"):
            data = request("POST", "/api/publish", f"Content-Type: {kind}", body=b"{}")
            self.refused(data, 415, "bad_frame")
        self.refused(request("POST", "/api/publish", body=b"{}"), 415, "bad_frame")
        self.refused(post("Content-Encoding: gzip"), 415, "bad_frame")

    def test_the_charset_may_be_named(self) -> None:
        socket = self.send(post().replace(b"json\r\n", b"JSON; charset=utf-8\r\n"))
        self.confirm()
        self.assertEqual(self.answer(socket).status, 200)

    def test_other_methods_are_405(self) -> None:
        for method in ("GET", "PUT", "DELETE"):
            found = self.refused(request(method, "/api/publish"), 405, "bad_frame")
            self.assertEqual(found.fields["allow"], "POST, OPTIONS")

    def test_a_body_of_two_lengths_is_400(self) -> None:
        self.refused(post("Transfer-Encoding: chunked"), 400, "bad_frame")

    def test_without_rules_only_this_machine_may(self) -> None:
        for data in (
            post().replace(b"localhost:8080", b"chat.example"),
            post("X-Forwarded-For: 127.0.0.1"),
        ):
            found = self.answer(self.send(data))
            self.assertEqual((found.status, found.json["code"]), (403, "forbidden"))
        self.assertEqual(self.link.published, [])


class RuleTests(PublishCase):
    """With rules, they decide."""

    rules = (Allow("publish", "/topic/a"),)
    listener = Listener()

    def test_what_they_allow_is_published(self) -> None:
        socket = self.send(post(), "192.0.2.1")
        self.confirm()
        self.assertEqual(self.answer(socket).status, 200)

    def test_anything_else_is_403(self) -> None:
        found = self.answer(self.send(post(destination="/topic/b"), "192.0.2.1"))
        self.assertEqual((found.status, found.json["code"]), (403, "forbidden"))


class OriginTests(PublishCase):
    """Pages of other origins."""

    listener = Listener(("https://app.example", "self"), loopback=True)
    APP = "Origin: https://app.example"

    def test_those_that_are_named_may_publish_and_read_the_answer(self) -> None:
        socket = self.publish(self.APP)
        self.confirm()
        found = self.answer(socket)
        self.assertEqual(found.fields["access-control-allow-origin"], "https://app.example")
        self.assertEqual(found.fields["vary"], "Origin")
        found = self.answer(self.send(post(self.APP, destination="x")))
        self.assertEqual(found.fields["access-control-allow-origin"], "https://app.example")
        found = self.refused(request("GET", "/api/publish", self.APP), 405, "bad_frame")

    def test_they_may_ask_before(self) -> None:
        socket = self.send(
            request(
                "OPTIONS",
                "/api/publish",
                self.APP,
                "Access-Control-Request-Method: POST",
                "Access-Control-Request-Headers: content-type",
            )
        )
        found = self.answer(socket)
        self.assertEqual((found.status, found.body), (204, b""))
        self.assertNotIn("content-length", found.fields)
        self.assertEqual(found.fields["access-control-allow-origin"], "https://app.example")
        self.assertEqual(found.fields["access-control-allow-methods"], "POST")
        self.assertEqual(found.fields["access-control-allow-headers"], "content-type")

    def test_others_are_403_and_told_nothing_else(self) -> None:
        for origin in ("https://evil.example", "null", "http://app.example"):
            line = f"Origin: {origin}"
            found = self.refused(post(line), 403, "forbidden")
            self.assertNotIn("access-control-allow-origin", found.fields)
            self.refused(request("OPTIONS", "/api/publish", line), 403, "forbidden")
        self.assertEqual(self.link.published, [])

    def test_the_page_itself_may(self) -> None:
        self.publish("Origin: http://localhost:8080", "Sec-Fetch-Site: same-origin")

    def test_a_foreign_page_that_hides_its_origin_is_403(self) -> None:
        for site in ("cross-site", "same-site"):
            self.refused(post(f"Sec-Fetch-Site: {site}"), 403, "forbidden")
