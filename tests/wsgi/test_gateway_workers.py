"""Gateway and workers, with the embedded broker between them; all in memory."""

from __future__ import annotations

from typing import Any

from tests.wsgi.gateway_case import MOUNT, FakeAnswering, request
from tests.wsgi.worker_case import OK, FakeCrew, WsgiWorkerCase
from twbridge.wsgi.gateway import Gateway
from twbridge.wsgi.messages import PIECE, Cancel, Grant, Part, Start, Upload
from twbridge.wsgi.ports import Forwarded, Mount


class GatewayWorkersTests(WsgiWorkerCase):
    """Both ends, as they are."""

    def setUp(self) -> None:
        super().setUp()
        self.gateway = Gateway(self.link(), self.clock)
        self.addCleanup(self.stop_gateway)

    def stop_gateway(self) -> None:
        self.result(self.gateway.stop())
        self.assertEqual(self.gateway.pending, 0)

    def forward(
        self, method: str = "GET", body: bytes = b"", more: bool = False, mount: Mount = MOUNT
    ) -> tuple[FakeAnswering, Forwarded]:
        """A request that is on its way."""
        client = FakeAnswering()
        forwarded = self.gateway.forward(request(method), mount, client)
        client.on_data = forwarded.drained
        forwarded.upload(body, more)
        self.network.pump()
        return client, forwarded

    def lose_publishing(self) -> None:
        """The gateway's connection that publishes is lost, and what was written to it last."""
        connection: Any = self.gateway._link._publishing.connection
        connection.transport.stream.clear()
        connection.transport.abortConnection()
        self.network.pump()

    def uploads(self, crew: FakeCrew) -> bytes:
        """What the first lane has got of a body."""
        return b"".join(each.data for each in crew.all[0].heard if isinstance(each, Upload))

    def test_a_request_is_answered(self) -> None:
        _, crew = self.served()
        client, _ = self.forward()
        crew.all[0].end()
        self.network.pump()
        self.assertEqual((client.body, client.complete), (b"hello", True))

    def test_bodies_go_both_ways_as_fast_as_they_are_taken(self) -> None:
        _, crew = self.served()
        body = bytes(range(256)) * 4096
        pieces = [body[at : at + PIECE] for at in range(PIECE, len(body), PIECE)]
        client, forwarded = self.forward("POST", body[:PIECE], True)
        client.on_read = lambda: forwarded.upload(pieces.pop(0), bool(pieces))
        lane = crew.all[0]
        while len(self.uploads(crew)) < len(body) - PIECE:
            lane.say(Grant(PIECE))
            self.network.pump()
        self.assertEqual(self.uploads(crew), body[PIECE:])
        lane.say(Start(200, "OK", [("Content-Length", str(len(body)))], b"", True))
        for number in range(16):
            lane.say(Part(number + 1, body[number * PIECE : (number + 1) * PIECE], True))
            self.network.pump()
        lane.end(Part(17, b"", False))
        self.network.pump()
        self.assertEqual((client.body, client.complete), (body, True))

    def test_nobody_has_ever_served_the_mount(self) -> None:
        client, _ = self.forward(mount=Mount("/nothing"))
        self.assertEqual(client.status, 503)
        self.assertTrue(client.errors[0].unserved)

    def test_the_last_worker_leaves_and_nothing_waits_for_long(self) -> None:
        worker, _ = self.served(lanes=1)
        self.forward(more=True, method="POST")
        client, _ = self.forward()
        self.die(worker)
        self.until(lambda: client.errors, 8.0)
        self.assertEqual(client.status, 503)
        self.assertTrue(client.errors[0].unserved)

    def test_the_only_worker_dies_with_a_request(self) -> None:
        worker, _ = self.served()
        client, _ = self.forward("POST")
        self.pass_time(0.1)
        self.die(worker)
        self.until(lambda: client.errors, 5.0)
        self.assertEqual(client.status, 502)
        self.assertIn("may have run", str(client.errors[0]))

    def test_a_get_runs_again_at_another_worker(self) -> None:
        worker, _ = self.served()
        client, _ = self.forward()
        self.pass_time(0.1)
        _, other = self.served()
        self.die(worker)
        self.until(lambda: other.busy, 5.0)
        other.all[0].end()
        self.network.pump()
        self.assertTrue(client.complete)

    def test_a_client_that_leaves_early_is_told_to_the_worker(self) -> None:
        _, crew = self.served()
        _, forwarded = self.forward()
        forwarded.gone()
        self.until(lambda: Cancel("gone") in crew.all[0].heard, 1.0)
        crew.all[0].end(None)

    def test_an_application_that_is_late_is_ended(self) -> None:
        _, crew = self.served()
        client, _ = self.forward(mount=Mount("/app", timeout=1.0))
        self.until(lambda: client.errors, 1.5)
        self.assertEqual(client.status, 504)
        self.until(lambda: crew.ended, 1.0)

    def test_a_cancel_that_comes_again_changes_nothing(self) -> None:
        _, crew = self.served(2)
        lane, left = crew.all[1], crew.all[0]
        client, _ = self.forward(mount=Mount("/app", timeout=20.0))
        self.pass_time(0.2)
        lane.say(Start(200, "OK", [], b"", True))
        self.network.pump()
        _, forwarded = self.forward("POST", mount=Mount("/app", timeout=20.0))
        self.pass_time(0.2)
        forwarded.gone()
        self.network.pump()
        for _ in range(3):
            self.lose_publishing()
            self.pass_time(1.0)
        heard = [each.heard.count(Cancel("gone")) for each in (lane, left)]
        self.assertEqual((heard, crew.ended), ([0, 1], []))
        lane.end(Part(1, b"still there", False))
        left.end(None)
        self.network.pump()
        self.assertEqual((client.body, client.complete), (b"still there", True))

    def test_a_worker_learns_late_what_was_lost_on_its_way(self) -> None:
        _, crew = self.served()
        lane = crew.all[0]
        client, forwarded = self.forward("POST", b"x", more=True)
        lane.say(Grant(PIECE))
        self.network.pump()
        forwarded.upload(b"y", False)
        self.lose_publishing()
        self.assertEqual(client.status, 502)
        self.until(lambda: Cancel("gone") in lane.heard, 5.0)
        self.assertEqual(self.uploads(crew), b"")
        lane.end(None)

    def test_the_broker_restarts(self) -> None:
        _, crew = self.served()
        client, _ = self.forward("POST")
        self.pass_time(0.1)
        self.restart()
        self.assertEqual(client.status, 502)
        self.pass_time(2.0)
        again, _ = self.forward()
        self.until(lambda: crew.busy or again.errors, 5.0)
        for _ in range(2):
            if crew.busy:
                crew.all[0].end(OK)
                self.pass_time(0.5)
        self.assertTrue(again.complete)

    def test_one_made_while_the_broker_is_away_is_answered(self) -> None:
        _, crew = self.served()
        first, _ = self.forward()
        crew.all[0].end()
        self.network.pump()
        self.network.broker.close_connections("restart")
        self.network.pump()
        client, _ = self.forward()
        self.assertEqual(client.errors, [])
        self.until(lambda: crew.busy, 8.0)
        crew.all[0].end()
        self.network.pump()
        self.assertTrue(first.complete and client.complete)
