"""A request and its answer, on a link that the test drives."""

from __future__ import annotations

from tests.wsgi.gateway_case import MOUNT, FakeAnswering, GatewayCase, ok, request
from twbridge.wsgi.gateway import HELD_MAX
from twbridge.wsgi.messages import (
    PIECE,
    WINDOW,
    Accepted,
    Cancel,
    Credit,
    Grant,
    Part,
    Upload,
    read_to_worker,
)
from twbridge.wsgi.ports import Mount


class ForwardingTests(GatewayCase):
    """One request, one answer."""

    def test_a_request_is_one_message_and_so_is_its_answer(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"hello", False, ("X-A", "b")))
        self.assertEqual(client.head, (200, "OK", [("X-A", "b")]))
        self.assertEqual((client.body, client.complete), (b"hello", True))
        self.assertEqual(len(self.link.published), 1)
        self.assertEqual(self.gateway.pending, 0)

    def test_a_request_goes_to_the_queue_of_its_mount(self) -> None:
        self.forward("POST", b"body")
        (published,) = self.link.published
        self.assertEqual((published.exchange, published.routing_key), ("", "twbridge.wsgi.app"))
        self.assertTrue(published.mandatory)
        wanted = {"reply_to": "amq.gen-1", "expiration": "9000", "delivery_mode": 1}
        self.assertEqual({key: published.properties[key] for key in wanted}, wanted)
        expected = request("POST")
        expected.body, expected.more = b"body", False
        self.assertEqual(read_to_worker(published.body), expected)

    def test_each_answer_finds_its_request(self) -> None:
        clients = [self.forward()[0] for _ in range(3)]
        for number in (2, 0, 1):
            self.say(ok(b"%d" % number), self.id_of(number))
        self.assertEqual([client.body for client in clients], [b"0", b"1", b"2"])

    def test_there_is_one_queue_for_all_answers_from_the_first_request_on(self) -> None:
        self.assertEqual(self.link.consumers, [])
        self.forward()
        self.forward()
        self.assertEqual(len(self.link.consumers), 1)
        self.assertTrue(self.consumer.options["no_ack"])
        self.assertEqual(self.link.declared, [])

    def test_an_answer_in_parts_arrives_in_parts(self) -> None:
        client, _ = self.forward()
        self.say(Accepted("w"))
        self.say(ok(b"a", True))
        self.say(Part(1, b"b", True))
        self.assertEqual((client.body, client.complete), (b"ab", False))
        self.say(Part(2, b"", False))
        self.assertEqual((client.body, client.complete), (b"ab", True))
        self.assertEqual(self.told(), [])

    def test_a_client_that_is_told_may_leave_within_that(self) -> None:
        client, forwarded = self.forward()
        client.on_data = lambda size: forwarded.gone()
        self.say(ok(b"a", True))
        self.assertEqual(self.told(), [Cancel("gone")])

    def test_head_and_no_content_have_no_body(self) -> None:
        client, _ = self.forward("HEAD")
        self.say(ok(b"hello", True, ("Content-Length", "7")))
        self.assertEqual((client.body, client.complete), (b"", True))
        self.assertEqual(self.told(), [Cancel("gone")])
        client, _ = self.forward()
        self.say(ok(b"hello", status=204))
        self.assertEqual((client.body, client.complete), (b"", True))


class WaitingTests(GatewayCase):
    """There is no queue for the answers yet, or no room."""

    def test_a_request_waits_until_there_is_a_queue(self) -> None:
        self.link.held = True
        client, _ = self.forward()
        self.assertEqual(self.link.published, [])
        self.clock.advance(4.0)
        self.link.release()
        self.assertEqual(len(self.requests), 1)
        self.assertEqual(self.requests[0].properties["expiration"], "5000")
        self.say(ok())
        self.assertTrue(client.complete)

    def test_it_waits_no_longer_than_the_mount_says(self) -> None:
        self.link.held = True
        client, _ = self.forward()
        self.advance(9.5)
        self.assertEqual(client.status, 0)
        self.advance(1.0)
        self.assertEqual(client.status, 503)
        self.link.release()
        self.assertEqual(self.requests, [])

    def test_it_waits_for_the_broker_no_longer_than_others(self) -> None:
        self.link.held = True
        client, _ = self.forward(mount=Mount("/app", timeout=60.0))
        self.advance(9.5)
        self.assertEqual(client.status, 0)
        self.advance(1.0)
        self.assertEqual(client.status, 503)

    def test_one_that_left_is_not_sent(self) -> None:
        self.link.held = True
        _, forwarded = self.forward()
        forwarded.gone()
        self.link.release()
        self.assertEqual(self.requests, [])

    def test_not_any_number_of_them_waits(self) -> None:
        self.link.held = True
        for _ in range(HELD_MAX):
            self.forward()
        client, _ = self.forward()
        self.assertEqual(client.status, 503)
        self.assertEqual(self.gateway.pending, HELD_MAX)

    def test_a_busy_broker_is_said_at_once(self) -> None:
        self.link.press(True)
        client, forwarded = self.forward()
        self.assertEqual((client.status, str(client.errors[0])), (503, "The broker is busy."))
        forwarded.upload(b"", False)
        forwarded.gone()
        self.assertEqual(self.link.published, [])

    def test_a_closed_link_is_said_at_once(self) -> None:
        self.link.become("closed")
        client, _ = self.forward()
        self.assertEqual(client.status, 503)

    def test_a_stopped_gateway_tells_all_and_takes_no_more(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"", True))
        other, _ = self.forward()
        self.assertIsNone(self.successResultOf(self.gateway.stop()))
        self.assertEqual((client.status, other.status), (503, 503))
        self.assertEqual(str(client.errors[0]), "The bridge is about to stop.")
        self.assertEqual(self.told(), [Cancel("gone")])
        late, _ = self.forward()
        self.assertEqual(late.status, 503)
        self.assertTrue(self.consumer.cancelled)
        self.assertIsNone(self.successResultOf(self.gateway.stop()))


class UploadTests(GatewayCase):
    """A body in pieces."""

    def uploads(self) -> list[Upload]:
        """What was sent of it after the first piece."""
        return [each for each in self.told() if isinstance(each, Upload)]

    def test_no_more_is_read_than_the_worker_allows(self) -> None:
        client, forwarded = self.forward("POST", b"1", more=True)
        self.say(Accepted("w"))
        self.assertEqual(client.reads, 0)
        self.say(Grant(10))
        self.assertEqual(client.reads, 1)
        forwarded.upload(b"x" * 10, True)
        self.assertEqual(client.reads, 1)
        self.say(Grant(10))
        forwarded.upload(b"yz", False)
        self.assertEqual(client.reads, 2)
        self.assertEqual(self.uploads(), [Upload(1, b"x" * 10, True), Upload(2, b"yz", False)])
        self.say(Grant(WINDOW - 8))
        self.assertEqual(client.reads, 2)

    def test_a_piece_that_is_over_the_grant_is_sent_in_two(self) -> None:
        client, forwarded = self.forward("POST", b"", more=True)
        self.say(Grant(3))
        forwarded.upload(b"abcde", False)
        self.assertEqual(self.uploads(), [Upload(1, b"abc", True)])
        self.say(Grant(3))
        self.assertEqual(self.uploads()[1:], [Upload(2, b"de", False)])
        self.assertEqual(client.reads, 1)

    def test_pieces_of_nothing_are_no_messages_but_the_last(self) -> None:
        client, forwarded = self.forward("POST", b"", more=True)
        self.say(Grant(3))
        forwarded.upload(b"", True)
        self.assertEqual((client.reads, self.uploads()), (2, []))
        forwarded.upload(b"", False)
        self.assertEqual(self.uploads(), [Upload(1, b"", False)])

    def test_a_client_may_answer_at_once_and_by_the_byte(self) -> None:
        client, forwarded = self.forward("POST", b"", more=True)
        client.on_read = lambda: forwarded.upload(b"x", True)
        self.say(Grant(5_000))
        self.assertEqual(len(self.uploads()), 5_000)
        self.assertEqual(client.reads, 5_000)

    def test_nothing_is_read_while_the_broker_is_busy(self) -> None:
        client, forwarded = self.forward("POST", b"", more=True)
        self.link.press(True)
        self.say(Grant(PIECE))
        self.assertEqual(client.reads, 0)
        self.link.press(False)
        self.assertEqual(client.reads, 1)
        self.link.press(True)
        forwarded.upload(b"x", True)
        forwarded.gone()
        self.link.press(False)
        self.assertEqual(client.reads, 1)

    def test_nobody_uploads_unasked(self) -> None:
        _, forwarded = self.forward("POST", b"", more=True)
        self.assertRaises(RuntimeError, forwarded.upload, b"", True)

    def test_a_grant_over_the_window_ends_the_request(self) -> None:
        for sizes in ((WINDOW + 1,), (WINDOW, 1), (-1,)):
            client, _ = self.forward("POST", b"", more=True)
            for size in sizes:
                self.say(Grant(size))
            self.assertEqual(client.status, 502)
            self.assertEqual(self.told()[-1], Cancel("gone"))

    def test_an_answer_may_come_before_the_end_of_the_body(self) -> None:
        client, forwarded = self.forward("POST", b"", more=True)
        self.say(Grant(PIECE))
        self.say(ok(b"no"))
        self.assertTrue(client.complete)
        forwarded.upload(b"x", False)
        self.assertEqual(self.told(), [])


class AnswerTests(GatewayCase):
    """A long answer."""

    def test_the_worker_is_told_what_the_client_took(self) -> None:
        client, forwarded = self.forward()
        client.on_data = forwarded.drained
        self.say(ok(b"x" * PIECE, True))
        for number in range(1, 20):
            self.say(Part(number, b"x" * PIECE, number < 19))
        self.assertEqual(len(client.body), 20 * PIECE)
        self.assertTrue(client.complete)
        self.assertEqual(self.told(), [Credit(2 * PIECE)] * 9)

    def test_no_more_than_the_window_is_on_its_way(self) -> None:
        client, forwarded = self.forward()
        self.say(ok(b"x" * PIECE, True))
        for number in (1, 2, 3):
            self.say(Part(number, b"x" * PIECE, True))
        forwarded.drained(PIECE)
        self.assertEqual((client.status, self.told()), (0, []))
        self.say(Part(4, b"x", True))
        self.assertEqual((client.status, len(client.body)), (502, WINDOW))
        self.assertEqual(self.told(), [Cancel("gone")])

    def test_nobody_takes_more_than_there_is(self) -> None:
        _, forwarded = self.forward()
        self.say(ok(b"x" * PIECE, True))
        forwarded.drained(WINDOW)
        forwarded.drained(WINDOW)
        self.assertEqual(self.told(), [])

    def test_a_length_is_kept_to(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"ab", True, ("Content-Length", "5")))
        self.say(Part(1, b"cde", True))
        self.assertFalse(client.complete)
        self.say(Part(2, b"", False))
        self.assertTrue(client.complete)

    def test_an_answer_that_is_too_long_is_cut_off_there(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"ab", True, ("Content-Length", "3")))
        self.say(Part(1, b"cd", False))
        self.assertEqual((client.body, client.status), (b"abc", 502))
        client, _ = self.forward()
        self.say(ok(b"abcd", False, ("Content-Length", "3")))
        self.assertEqual((client.body, client.status), (b"abc", 502))

    def test_an_answer_that_is_too_short_is_none(self) -> None:
        client, _ = self.forward()
        self.say(ok(b"ab", False, ("Content-Length", "3")))
        self.assertEqual((client.head, client.status), (None, 502))
        client, _ = self.forward()
        self.say(ok(b"a", True, ("Content-Length", "3")))
        self.say(Part(1, b"b", False))
        self.assertEqual((client.body, client.complete, client.status), (b"ab", False, 502))


class AnsweringTests(GatewayCase):
    """The other client is not touched."""

    def test_a_client_that_breaks_ends_alone(self) -> None:
        class Broken(FakeAnswering):
            def start(self, *args: object) -> None:
                raise ZeroDivisionError

        client = Broken()
        self.gateway.forward(request(), MOUNT, client).upload(b"", False)
        self.say(ok(b"", True))
        self.assertEqual(client.status, 502)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
