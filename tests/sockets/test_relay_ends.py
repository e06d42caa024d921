"""How relayed requests end before their time, and how fast their bytes go."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone

from tests.sockets.relays import Failure, RelayCase, Wire, chunked, post, request, unchunk
from twbridge.sockets.heads import Refusal

LARGE = b"a" * 300_000


class GoneTests(RelayCase):
    """A client that leaves, in every state."""

    def gone(self, wire: Wire) -> None:
        wire.lose(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.front.census.total, len(self.front.relaying)), (0, 0))

    def test_before_the_body_is_there_nobody_is_told(self) -> None:
        self.gone(self.ask(post(LARGE)[:1_000]))
        self.assertEqual(self.side.requests, [])

    def test_while_it_waits(self) -> None:
        self.gone(self.get())
        self.assertEqual(self.newest.gone_count, 1)

    def test_while_it_sends(self) -> None:
        self.gone(self.ask(post(LARGE)))
        self.assertEqual(self.newest.gone_count, 1)
        self.newest.out.read_on()
        self.assertEqual(len(self.newest.uploads), 1)

    def test_while_it_reads(self) -> None:
        wire = self.get()
        self.newest.begin(b"abc")
        self.gone(wire)
        self.assertEqual(self.newest.gone_count, 1)
        self.newest.out.part(b"def", False)
        self.assertNotIn(b"def", wire.received)

    def test_while_it_does_not_take_what_there_is(self) -> None:
        wire = self.get()
        wire.reading = False
        self.newest.begin(LARGE)
        self.gone(wire)
        self.assertEqual((self.newest.gone_count, self.newest.taken), (1, []))

    def test_while_it_takes_the_rest_of_a_whole_answer_nobody_is_told(self) -> None:
        wire = self.get()
        wire.reading = False
        self.newest.answer(LARGE)
        self.gone(wire)
        self.assertEqual(self.newest.gone_count, 0)

    def test_after_the_answer_nobody_is_told(self) -> None:
        wire = self.get()
        self.newest.answer()
        self.gone(wire)
        self.assertEqual(self.newest.gone_count, 0)

    def test_what_comes_after_that_is_ignored(self) -> None:
        self.gone(self.get())
        self.newest.answer()
        self.newest.out.part(b"", False)
        self.newest.out.failed(Failure(500, "No."))
        self.newest.out.read_on()
        self.assertEqual(self.newest.gone_count, 1)


class BodyEndTests(RelayCase):
    """Bodies that are too large, too slow, or none."""

    def test_a_length_over_the_limit_is_413_at_once(self) -> None:
        wire = self.ask(request("POST", "Content-Length: 1000001"))
        self.assertEqual(self.answer(wire).status, 413)
        self.assertTrue(wire.half_closed)
        self.assertEqual(self.side.requests, [])

    def test_one_that_waits_to_send_it_need_not(self) -> None:
        wire = self.ask(request("POST", "Content-Length: 1000001", "Expect: 100-continue"))
        self.assertEqual(self.answer(wire).status, 413)

    def test_chunks_over_the_limit_are_413_and_the_application_is_told(self) -> None:
        self.side.greedy = True
        wire = self.ask(chunked(b"a" * 1_000_001, 50_000))
        self.assertEqual(self.answer(wire).status, 413)
        self.assertEqual(self.newest.gone_count, 1)
        self.assertLessEqual(len(self.newest.body), 1_000_000)

    def test_chunks_that_are_none_are_400(self) -> None:
        wire = self.ask(chunked(LARGE, 100_000)[:200_000] + b"\r\nxyz\r\n" * 20_000)
        self.newest.out.read_on()
        self.assertEqual(self.newest.gone_count, 1)
        self.assertEqual(self.answer(wire).status, 400)

    def test_within_an_answer_they_cut_it(self) -> None:
        wire = self.ask(
            request("POST", "Transfer-Encoding: chunked") + b"11170\r\n" + b"a" * 70_000
        )
        self.newest.begin(b"abc")
        wire.deliver(b"x\r\n")
        self.clock.advance(0)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.newest.gone_count, 1)
        self.assertEqual(wire.received.count(b"HTTP/1.1 "), 1)
        self.assertTrue(wire.received.endswith(b"3\r\nabc\r\n"))

    def test_a_small_one_that_drips_is_408_and_the_application_never_hears_of_it(self) -> None:
        wire = self.ask(post(b"a" * 100)[:-50])
        for _ in range(29):
            self.clock.advance(1)
            wire.deliver(b"a")
        self.assertIsNone(wire.lost)
        self.clock.advance(1)
        self.assertEqual(self.answer(wire).status, 408)
        self.assertEqual(self.side.requests, [])

    def test_each_64_KiB_have_30_s_of_the_time_in_which_they_are_waited_for(self) -> None:
        wire = self.ask(request("POST", "Content-Length: 300000") + b"a" * 65_536)
        self.clock.advance(100)
        self.newest.greedy = True
        self.newest.out.read_on()
        self.clock.advance(29)
        wire.deliver(b"a" * 65_535)
        self.clock.advance(0.5)
        wire.deliver(b"a")
        self.clock.advance(29)
        wire.deliver(b"a")
        self.assertEqual(self.newest.gone_count, 0)
        self.clock.advance(1)
        self.assertEqual(self.answer(wire).status, 408)
        self.assertEqual(self.newest.gone_count, 1)

    def test_a_late_one_within_an_answer_cuts_it(self) -> None:
        wire = self.ask(request("POST", "Content-Length: 300000") + b"a" * 65_536)
        self.newest.out.read_on()
        self.newest.begin(b"abc")
        self.clock.advance(30)
        self.clock.advance(0)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.newest.gone_count, 1)
        self.assertEqual(wire.received.count(b"HTTP/1.1 "), 1)

    def test_one_that_nobody_reads_does_not_take_the_answer_from_its_client(self) -> None:
        wire = self.ask(post(LARGE)[:-100_000])
        self.newest.answer(b"no")
        answer = self.answer(wire)
        self.assertEqual((answer.body, answer.fields["connection"]), (b"no", "close"))
        self.assertTrue(wire.half_closed)
        self.assertTrue(wire.accepting)
        wire.deliver(b"a" * 100_000 + request("GET"))
        self.assertEqual(len(self.side.requests), 1)
        self.assertIsNone(wire.lost)
        self.clock.advance(30)
        self.clock.advance(0)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.newest.gone_count, 0)

    def test_one_that_is_there_and_not_read_lets_the_connection_live(self) -> None:
        wire = self.ask(post(b"a" * 100_000))
        self.assertFalse(self.newest.complete)
        self.newest.answer()
        self.assertNotIn("connection", self.answer(wire).fields)
        wire.deliver(request("GET"))
        self.assertEqual(len(self.side.requests), 2)


class BrokenAnswerTests(RelayCase):
    """Applications that break their word."""

    def begin(self, *fields: tuple[str, str], version: str = "1.1") -> Wire:
        wire = self.ask(request("GET", version=version))
        self.newest.begin(b"abc", *fields)
        return wire

    def cut(self, wire: Wire, gone: int) -> bool:
        """Whether the connection ended with a reset."""
        self.clock.advance(0)
        assert wire.lost is not None
        self.assertEqual(self.newest.gone_count, gone)
        self.assertEqual(len(self.front.relaying), 0)
        return bool(wire.lost.check(ConnectionAborted))

    def test_too_long_is_cut_off_where_it_should_end(self) -> None:
        wire = self.begin(("Content-Length", "5"))
        self.newest.out.part(b"defg", True)
        self.cut(wire, 1)
        self.assertTrue(wire.received.endswith(b"\r\n\r\nabcde"))

    def test_too_long_in_the_end(self) -> None:
        wire = self.begin(("Content-Length", "5"))
        self.newest.out.part(b"defg", False)
        self.cut(wire, 0)
        self.assertTrue(wire.received.endswith(b"\r\n\r\nabcde"))

    def test_too_short(self) -> None:
        wire = self.begin(("Content-Length", "5"))
        self.newest.out.part(b"d", False)
        self.cut(wire, 0)

    def test_a_failure_in_the_middle_has_no_last_chunk(self) -> None:
        wire = self.begin()
        self.newest.out.failed(Failure(502, "Lost."))
        self.assertFalse(self.cut(wire, 0))
        self.assertTrue(wire.received.endswith(b"\r\n\r\n3\r\nabc\r\n"))

    def test_to_HTTP_1_0_it_is_a_reset(self) -> None:
        wire = self.begin(version="1.0")
        self.newest.out.failed(Failure(502, "Lost."))
        self.assertTrue(self.cut(wire, 0))

    def test_one_who_fails_at_once(self) -> None:
        self.side.failure = Failure(503, "No worker.")
        wire = self.ask(post(LARGE) + request("GET"))
        self.assertEqual(self.newest.uploads, [])
        self.assertEqual(self.answer(wire).status, 503)
        wire = self.get()
        self.assertEqual(self.answer(wire).status, 503)
        self.assertIsNone(wire.lost)


class PressureTests(RelayCase):
    """Nobody is given more than it takes."""

    def test_what_is_not_wanted_is_not_read(self) -> None:
        wire = self.ask(post(b"a" * 900_000)[:131_500])
        self.assertFalse(wire.accepting)
        self.newest.out.read_on()
        self.assertTrue(wire.accepting)
        self.assertEqual(len(self.newest.body), 2 * 65_536)
        wire.deliver(b"a" * 65_000)
        self.assertTrue(wire.accepting)
        wire.deliver(b"a" * 1_000)
        self.assertFalse(wire.accepting)

    def test_a_small_first_piece_is_waited_for(self) -> None:
        wire = self.ask(post(b"a" * 900_000)[:60_000])
        self.assertEqual(self.side.requests, [])
        self.assertTrue(wire.accepting)

    def test_pipelined_requests_are_not_read_without_end(self) -> None:
        wire = self.get()
        wire.deliver(request("GET") + request("GET", f"X: {'a' * 9_000}") * 8)
        self.assertFalse(wire.accepting)
        self.newest.answer()
        self.newest.answer()
        self.assertTrue(wire.accepting)

    def test_an_answer_goes_on_when_the_socket_has_taken_it(self) -> None:
        wire = self.get()
        self.newest.begin(b"a" * 10)
        self.assertEqual(self.newest.taken, [10])
        wire.reading = False
        self.newest.out.part(b"b" * 70_000, True)
        self.newest.out.part(b"c" * 20, True)
        self.assertEqual(self.newest.taken, [10])
        wire.drain()
        self.assertEqual(self.newest.taken, [10, 70_020])
        wire.reading = True
        self.newest.out.part(b"", False)
        body = wire.received.partition(b"\r\n\r\n")[2]
        self.assertEqual(len(unchunk(body)), 70_030)

    def test_one_who_answers_at_once_and_on_and_on_is_told_what_is_taken(self) -> None:
        self.side.streams = True
        wire = self.get()
        self.assertEqual(self.newest.taken, [3])
        self.newest.out.part(b"", False)
        self.assertEqual(unchunk(wire.received.partition(b"\r\n\r\n")[2]), b"abc")

    def test_the_next_request_waits_until_the_socket_has_taken_it(self) -> None:
        wire = self.ask(request("GET") * 2)
        wire.reading = False
        self.newest.answer(LARGE)
        self.assertEqual(len(self.side.requests), 1)
        wire.drain()
        self.assertEqual(len(self.side.requests), 2)
        self.assertEqual(self.side.requests[0].taken, [])

    def test_one_who_does_not_take_the_end_is_dropped(self) -> None:
        wire = self.get()
        wire.reading = False
        self.newest.answer(LARGE)
        self.clock.advance(59)
        self.assertIsNone(wire.lost)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertIsNotNone(wire.lost)

    def test_the_end_of_a_connection_has_the_same_time(self) -> None:
        wire = self.get("Connection: close")
        wire.reading = False
        self.newest.answer(b"a" * 50_000)
        self.clock.advance(59)
        wire.drain()
        self.clock.advance(0)
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.answer(wire).body, b"a" * 50_000)


class StopTests(RelayCase):
    """The bridge stops."""

    def test_answers_have_3_s(self) -> None:
        wire = self.get()
        self.front.stopFactory()
        done = self.front.close_all()
        self.clock.advance(2)
        self.assertNoResult(done)
        self.newest.answer()
        self.successResultOf(done)
        self.assertEqual(self.answer(wire).fields["connection"], "close")
        self.assertIsNotNone(wire.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_then_clients_are_told_that_there_is_none(self) -> None:
        waiting, reading, sending = self.get(), self.get(), self.ask(post(LARGE)[:-5])
        self.side.requests[1].begin(b"abc")
        done = self.front.close_all()
        self.clock.advance(3)
        self.successResultOf(done)
        for wire in (waiting, sending):
            answer = self.answer(wire)
            self.assertEqual(answer.status, 503)
            self.assertIn(b"it may have run", answer.body)
        self.assertTrue(reading.received.endswith(b"3\r\nabc\r\n"))
        self.assertIsNotNone(reading.lost)
        self.assertEqual([each.gone_count for each in self.side.requests], [1, 1, 1])

    def test_without_any_it_is_done_at_once(self) -> None:
        self.successResultOf(self.front.close_all())


class AdmissionTests(RelayCase):
    """Who gets that far."""

    def test_too_many_connections_are_503(self) -> None:
        held = [self.connect(f"198.51.100.{i}") for i in range(10)]
        self.assertEqual(self.answer(self.get()).status, 503)
        self.assertEqual(len(held), 10)
        self.assertEqual(self.side.requests, [])

    def test_a_refusal_is_answered(self) -> None:
        self.side.refused = Refusal(400, "No.")
        self.assertEqual(self.answer(self.ask(post(b"abc"))).status, 400)

    def test_an_error_inside_never_follows_an_answer(self) -> None:
        wire = self.ask(post(LARGE)[:-1])
        self.newest.begin(b"abc")

        def broken(data: bytes, more: bool) -> None:
            raise RuntimeError("secret")

        self.newest.upload = broken  # type: ignore[method-assign]
        with self.assertRaises(RuntimeError):
            self.newest.out.read_on()
        self.assertEqual(wire.received.count(b"HTTP/1.1 "), 1)
        self.newest.out.failed(Failure(502, "x"))
        self.clock.advance(0)
        self.assertEqual(wire.received.count(b"HTTP/1.1 "), 1)
