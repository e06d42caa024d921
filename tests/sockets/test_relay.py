"""Requests that are streamed through the door: what goes in, and what comes out."""

from __future__ import annotations

import email.utils
import time

from tests.sockets.relays import Failure, RelayCase, chunked, post, request, unchunk
from tests.web.harness import answers


class RequestTests(RelayCase):
    """What of a request is relayed."""

    def test_one_without_a_body_at_once(self) -> None:
        self.get("X-A: 1")
        self.assertEqual(self.newest.head.target, "/app/page?a=1")
        self.assertEqual(self.newest.client.address, "192.0.2.1")
        self.assertEqual((self.newest.length, self.newest.uploads), (0, [(b"", False)]))

    def test_a_small_body_when_it_is_whole(self) -> None:
        data = post(b"abcdef")
        wire = self.ask(data[:-3])
        self.assertEqual(self.side.requests, [])
        wire.deliver(data[-3:])
        self.assertEqual((self.newest.length, self.newest.uploads), (6, [(b"abcdef", False)]))

    def test_a_large_body_in_pieces_as_they_are_wanted(self) -> None:
        body = bytes(range(256)) * 800  # 204,800 bytes
        wire = self.ask(post(body))
        self.assertEqual(self.newest.uploads, [(body[:65_536], True)])
        self.newest.out.read_on()
        self.assertEqual(len(self.newest.uploads), 2)
        self.newest.out.read_on()
        self.newest.out.read_on()
        self.assertEqual(self.newest.body, body)
        self.assertTrue(self.newest.complete)
        self.assertTrue(all(len(data) <= 65_536 for data, _ in self.newest.uploads))
        self.newest.answer()
        self.assertEqual(self.answer(wire).body, b"hello")
        self.assertIsNone(wire.lost)

    def test_a_chunked_body(self) -> None:
        self.side.greedy = True
        body = bytes(range(256)) * 800
        wire = self.ask(chunked(body, 1_000))
        self.assertEqual((self.newest.length, self.newest.body), (None, body))
        self.assertTrue(self.newest.complete)
        self.newest.answer()
        self.assertEqual(self.answer(wire).status, 200)

    def test_what_comes_later_is_given_at_once_where_it_is_wanted(self) -> None:
        wire = self.ask(post(b"a" * 70_000)[:-1_000])
        self.assertEqual(len(self.newest.body), 65_536)
        self.newest.out.read_on()
        self.newest.out.read_on()
        wire.deliver(b"a" * 10)
        self.assertEqual(self.newest.uploads[2:], [(b"a" * 10, True)])

    def test_100_continue_is_said_where_it_is_waited_for(self) -> None:
        wire = self.ask(request("POST", "Content-Length: 3", "Expect: 100-continue"))
        self.assertEqual(wire.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.deliver(b"abc")
        self.newest.answer()
        self.assertEqual(self.answer(wire).status, 200)

    def test_and_not_where_the_body_is_there_or_there_is_none(self) -> None:
        for data in (
            post(b"abc", "Expect: 100-continue"),
            request("GET", "Expect: 100-continue"),
            request("POST", "Content-Length: 0", "Expect: 100-continue"),
        ):
            wire = self.ask(data)
            self.assertEqual(wire.take(), b"")
            self.assertTrue(self.newest.complete)

    def test_another_expectation_is_417(self) -> None:
        self.assertEqual(self.answer(self.get("Expect: tea")).status, 417)
        self.assertEqual(self.side.requests, [])


class AnswerTests(RelayCase):
    """How answers are written."""

    def test_one_piece_is_one_write_with_its_length(self) -> None:
        wire = self.get()
        self.newest.answer(b"hello", ("X-A", "1"), ("X-A", "2"))
        self.assertEqual(wire.writes, 1)
        self.assertIn(b"\r\nX-A: 1\r\nX-A: 2\r\n", wire.received)
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.body), (200, b"hello"))
        self.assertEqual(answer.fields["content-length"], "5")
        self.assertNotIn("connection", answer.fields)

    def test_the_date_is_added(self) -> None:
        wire = self.get()
        self.newest.answer()
        date = email.utils.parsedate_to_datetime(self.answer(wire).fields["date"])
        self.assertLess(abs(date.timestamp() - time.time()), 60)

    def test_the_date_of_the_application_stays(self) -> None:
        wire = self.get()
        self.newest.answer(b"", ("date", "Sat, 21 Nov 2026 15:00:00 GMT"))
        self.assertEqual(wire.received.lower().count(b"\r\ndate:"), 1)
        self.assertIn(b"15:00:00", wire.received)

    def test_several_pieces_are_chunks(self) -> None:
        wire = self.get()
        self.newest.begin(b"ab")
        self.newest.out.part(b"", True)
        self.newest.out.part(b"cde", True)
        self.newest.out.part(b"", False)
        answer = self.answer_in_chunks(wire.take())
        self.assertEqual(answer, b"abcde")
        self.assertIsNone(wire.lost)

    def answer_in_chunks(self, data: bytes) -> bytes:
        head, _, body = data.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nTransfer-Encoding: chunked\r\n", head)
        self.assertNotIn(b"Content-Length", head)
        return unchunk(body)

    def test_with_a_length_they_are_not(self) -> None:
        wire = self.get()
        self.newest.begin(b"ab", ("Content-Length", "5"))
        self.newest.out.part(b"cde", False)
        self.assertNotIn(b"Transfer-Encoding", wire.received)
        self.assertEqual(self.answer(wire).body, b"abcde")

    def test_a_length_that_is_none_is_left_out(self) -> None:
        for value in ("x", "-1", "", "1, 1"):
            wire = self.get()
            self.newest.answer(b"abc", ("Content-Length", value))
            self.assertEqual(self.answer(wire).fields["content-length"], "3")

    def test_to_HTTP_1_0_the_end_is_the_connections(self) -> None:
        wire = self.ask(request("GET", version="1.0"))
        self.newest.begin(b"ab")
        self.newest.out.part(b"cde", False)
        self.clock.advance(0)
        self.assertIsNotNone(wire.lost)
        head, _, body = wire.take().partition(b"\r\n\r\n")
        self.assertEqual(body, b"abcde")
        self.assertIn(b"\r\nConnection: close", head)
        self.assertNotIn(b"chunked", head)

    def test_HEAD_has_no_body_and_keeps_its_length(self) -> None:
        wire = self.ask(request("HEAD"))
        self.newest.answer(b"", ("Content-Length", "5"))
        answer = self.answer(wire, bodiless=True)
        self.assertEqual((answer.fields["content-length"], answer.rest), ("5", b""))
        wire.deliver(request("HEAD"))
        self.newest.begin(b"not to be sent")
        self.newest.out.part(b"neither", False)
        answer = self.answer(wire, bodiless=True)
        self.assertNotIn("transfer-encoding", answer.fields)
        self.assertIsNone(wire.lost)

    def test_204_and_304_have_no_body(self) -> None:
        wire = self.connect()
        for status in (204, 304):
            wire.deliver(request("GET"))
            self.newest.out.start(status, "X", [("Content-Length", "3")], b"abc", False)
            answer = self.answer(wire, bodiless=True)
            self.assertEqual(answer.status, status)
            self.assertEqual("content-length" in answer.fields, status == 304)
        self.assertIsNone(wire.lost)

    def test_a_failure_is_an_answer_and_the_connection_lives_on(self) -> None:
        wire = self.get()
        self.newest.out.failed(Failure(504, "Too late."))
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.body), (504, b"Too late.\n"))
        self.assertEqual(answer.fields["cache-control"], "no-store")
        wire.deliver(request("GET"))
        self.assertEqual(len(self.side.requests), 2)
        self.assertEqual(self.side.requests[0].gone_count, 0)


class KeepAliveTests(RelayCase):
    """Several requests on one connection."""

    def test_one_after_the_other(self) -> None:
        wire = self.connect()
        for body in (b"one", b"two", b""):
            wire.deliver(post(body))
            self.assertEqual(self.newest.body, body)
            self.newest.answer(body)
            answer = self.answer(wire)
            self.assertEqual(answer.body, body)
            self.assertEqual(answer.fields["keep-alive"], "timeout=60")
        self.assertIsNone(wire.lost)

    def test_pipelined_ones_wait(self) -> None:
        wire = self.ask(post(b"abc") + chunked(b"def", 2) + request("GET"))
        self.assertEqual(len(self.side.requests), 1)
        for body in (b"abc", b"def", b""):
            self.assertEqual(self.newest.body, body)
            self.newest.answer(b"=" + body)
        found = answers(wire.take())
        self.assertEqual([each.body for each in found], [b"=abc", b"=def", b"="])

    def test_pipelined_ones_behind_large_streams(self) -> None:
        self.side.greedy = True
        body = b"a" * 200_000
        wire = self.ask(post(body) + chunked(body, 9_000) + request("GET"))
        for expected in (body, body, b""):
            self.assertEqual(self.newest.body, expected)
            self.newest.begin(b"x", ("Content-Length", "2"))
            self.newest.out.part(b"y", False)
        self.assertEqual([each.body for each in answers(wire.take())], [b"xy"] * 3)

    def test_answers_at_once_do_not_nest(self) -> None:
        self.side.body = b"hello"
        wire = self.ask(request("GET") * 10)
        self.assertEqual(len(answers(wire.take())), 10)

    def test_close_is_heeded_and_said(self) -> None:
        wire = self.get("Connection: close")
        self.newest.answer()
        answer = self.answer(wire)
        self.assertEqual(answer.fields["connection"], "close")
        self.assertIsNotNone(wire.lost)

    def test_a_connection_has_so_many_requests(self) -> None:
        self.side.body = b"hello"
        wire = self.ask(request("GET") * 10)
        self.clock.advance(0)
        found = answers(wire.take())
        self.assertEqual([each.fields.get("connection") for each in found], [None] * 9 + ["close"])
        self.assertIsNotNone(wire.lost)

    def test_one_who_sends_more_sees_the_answers_before(self) -> None:
        self.side.body = b"hello"
        wire = self.ask(request("GET") * 11)
        self.assertEqual(len(answers(wire.take())), 10)
        self.assertTrue(wire.half_closed)

    def test_a_refusal_is_framed_by_its_own_request(self) -> None:
        self.side.body = b"hello"
        for bad, status in (
            (b"what\r\n\r\n", 400),
            (b"GET / HTTP/3.0\r\n\r\n", 505),
            (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
        ):
            wire = self.ask(request("HEAD"))
            wire.take()
            wire.deliver(bad)
            found = self.answer(wire)
            self.assertEqual((found.status, found.body[-1:]), (status, b"\n"))

    def test_a_refusal_behind_a_body_closes_at_once(self) -> None:
        self.side.body = b"hello"
        wire = self.ask(post(b"body"))
        wire.take()
        wire.deliver(b"what\r\n\r\n")
        self.assertEqual(self.answer(wire).status, 400)
        self.assertFalse(wire.half_closed)
        self.assertIsNotNone(wire.lost)

    def test_an_empty_line_behind_a_body_is_no_request(self) -> None:
        self.side.body = b"hello"
        wire = self.ask(post(b"body") + b"\r\n")
        self.clock.advance(59)
        self.assertIsNone(wire.lost)
        wire.deliver(request("GET"))
        self.assertEqual([each.status for each in answers(wire.take())], [200, 200])

    def test_the_name_of_a_town_in_a_cookie_gets_through(self) -> None:
        town = "тихо".encode().decode("latin-1")
        self.get(f"Cookie: city={town}")
        self.assertEqual(self.newest.head.values("cookie"), [f"city={town}"])

    def test_an_idle_one_ends(self) -> None:
        self.side.body = b"hello"
        wire = self.get()
        self.clock.advance(59)
        self.assertIsNone(wire.lost)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.front.census.total, 0)
