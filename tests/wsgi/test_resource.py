"""A WSGI application as a resource of twisted.web and of Klein."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

from tests.wsgi.gateway_case import MOUNT, GatewayCase, ok
from twbridge.wsgi.messages import (
    PIECE,
    Cancel,
    Credit,
    Failed,
    Grant,
    Part,
    Request,
    Upload,
    read_to_worker,
)
from twbridge.wsgi.ports import Mount
from twbridge.wsgi.resource import WSGIResource


class SlowTransport(StringTransport):
    """A socket; it has no room from the test's word on."""

    def fill(self) -> None:
        assert self.producer is not None
        self.producer.pauseProducing()

    def empty(self) -> None:
        assert self.producer is not None
        self.producer.resumeProducing()


class ResourceCase(GatewayCase):
    """``self.transport`` is the client's socket."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Resource()
        self.serve(MOUNT)
        self.connect()

    def serve(self, mount: Mount) -> None:
        """Put the workers of a mount at /app."""
        self.root.putChild(b"app", WSGIResource(self.gateway, mount))

    def connect(self, root: Any = None) -> None:
        """A connection to a site, this one by default."""
        site = Site(root or self.root, reactor=self.clock, timeout=None)
        self.channel = site.buildProtocol(None)
        peer, host = IPv4Address("TCP", "192.0.2.1", 4711), IPv4Address("TCP", "192.0.2.2", 80)
        self.transport = SlowTransport(host, peer)
        self.channel.makeConnection(self.transport)
        self.addCleanup(self.leave)

    def leave(self) -> None:
        """The client closes its end."""
        if self.channel is not None:
            self.channel.connectionLost(Failure(ConnectionDone()))
            self.channel = None

    def ask(self, line: str, *fields: str, body: bytes = b"", version: str = "HTTP/1.1") -> None:
        """Send a request."""
        head = "\r\n".join([f"{line} {version}", "Host: shop.example", *fields, "", ""])
        self.channel.dataReceived(head.encode("latin-1") + body)

    def post(self, body: bytes, *fields: str) -> None:
        """Send one with a body."""
        self.ask("POST /app/x", f"Content-Length: {len(body)}", *fields, body=body)

    @property
    def sent(self) -> Request:
        """What the worker gets."""
        message = read_to_worker(self.requests[-1].body)
        assert isinstance(message, Request)
        return message

    @property
    def answer(self) -> tuple[set[bytes], bytes]:
        """The lines of the head, and the body."""
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        return set(head.split(b"\r\n")), body


class RequestTests(ResourceCase):
    """What the worker gets."""

    def test_a_request_is_told_as_it_came(self) -> None:
        self.ask("PUT /app/a%2Fb/c?d=%20e", "X-A: 1", "x-a: 2", "Connection: close", "Proxy: no")
        sent = self.sent
        self.assertEqual((sent.method, sent.mount, sent.path), ("PUT", "/app", "/a%2Fb/c"))
        self.assertEqual((sent.query, sent.version, sent.scheme), ("d=%20e", "HTTP/1.1", "http"))
        self.assertEqual(sent.client, ("192.0.2.1", 4711))
        self.assertEqual(sent.server, ("shop.example", 80))
        self.assertEqual(
            sorted(sent.fields), [("host", "shop.example"), ("x-a", "1"), ("x-a", "2")]
        )
        self.assertEqual((sent.length, sent.body, sent.more), (0, b"", False))

    def test_the_script_is_where_the_resource_is(self) -> None:
        for target, script, path in (
            ("/app", "/app", ""),
            ("/app/", "/app", "/"),
            ("/app//x/", "/app", "//x/"),
            ("/%61pp/x", "/%61pp", "/x"),
        ):
            self.ask(f"GET {target}")
            self.assertEqual((self.sent.mount, self.sent.path), (script, path))
            self.say(ok())

    def test_a_resource_may_be_the_root(self) -> None:
        self.connect(WSGIResource(self.gateway, MOUNT))
        for target in ("/", "/a/b", "//"):
            self.ask(f"GET {target}")
            self.assertEqual((self.sent.mount, self.sent.path), ("", target))
            self.say(ok())

    def test_a_host_may_have_a_port(self) -> None:
        for host, server in (
            ("a:8080", ("a", 8080)),
            ("[::1]:81", ("[::1]", 81)),
            ("a b", ("192.0.2.2", 80)),
        ):
            data = f"GET /app HTTP/1.1\r\nHost: {host}\r\n\r\n"
            self.channel.dataReceived(data.encode())
            self.assertEqual(self.sent.server, server)
            self.say(ok())

    def test_a_body_goes_piece_by_piece_as_the_application_reads(self) -> None:
        body = bytes(range(256)) * 1000
        self.post(body)
        sent = self.sent
        self.assertEqual((sent.length, sent.body, sent.more), (len(body), body[:PIECE], True))
        self.assertEqual(self.told(), [])
        self.say(Grant(PIECE))
        self.assertEqual(self.told(), [Upload(1, body[PIECE : 2 * PIECE], True)])
        self.say(Grant(len(body) - 2 * PIECE))
        uploads = [each for each in self.told() if isinstance(each, Upload)]
        self.assertEqual(sent.body + b"".join(each.data for each in uploads), body)
        self.assertEqual([each.more for each in uploads], [True, True, False])

    def test_a_body_in_chunks_has_a_length_by_then(self) -> None:
        self.ask("POST /app", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n")
        self.assertEqual((self.sent.length, self.sent.body, self.sent.more), (3, b"abc", False))
        self.assertNotIn("transfer-encoding", dict(self.sent.fields))

    def test_a_body_that_is_too_large_is_refused(self) -> None:
        self.serve(Mount("/app", body=3))
        self.post(b"abcd")
        self.assertIn(b"HTTP/1.1 413 Request Entity Too Large", self.answer[0])
        self.assertEqual(self.link.published, [])
        self.transport.clear()
        self.post(b"abc")
        self.assertEqual(len(self.requests), 1)

    def test_a_control_in_a_field_is_refused(self) -> None:
        self.ask("GET /app", "X-A: b\x00c")
        self.assertIn(b"HTTP/1.1 400 Bad Request", self.answer[0])
        self.assertEqual(self.link.published, [])


class AnswerTests(ResourceCase):
    """What the client gets."""

    def test_the_application_says_everything(self) -> None:
        self.ask("GET /app")
        fields = (("Server", "a"), ("X-B", "1"), ("X-B", "2"), ("Set-Cookie", "c"))
        self.say(ok(b"hello", False, *fields, ("Set-Cookie", "d"), ("Content-Length", "5")))
        head, body = self.answer
        self.assertEqual(body, b"hello")
        date = {each for each in head if each.startswith(b"Date: ")}
        self.assertEqual(
            head - date,
            {
                b"HTTP/1.1 200 OK",
                b"Server: a",
                b"X-B: 1",
                b"X-B: 2",
                b"Set-Cookie: c",
                b"Set-Cookie: d",
                b"Content-Length: 5",
            },
        )
        self.assertEqual(len(date), 1)

    def test_cookies_of_twisted_and_of_the_application_go_together(self) -> None:
        class Session(Resource):
            def getChild(self, path: bytes, request: Any) -> Any:
                request.addCookie(b"twisted", b"1")
                return resource

        resource = WSGIResource(self.gateway, MOUNT)
        self.connect(Session())
        self.ask("GET /app/x")
        self.say(ok(b"", False, ("Set-Cookie", "app=2")))
        self.assertLess({b"Set-Cookie: twisted=1", b"Set-Cookie: app=2"}, self.answer[0])

    def test_parts_go_as_they_come(self) -> None:
        self.ask("GET /app")
        self.say(ok(b"ab", True))
        self.assertEqual(self.answer[1], b"2\r\nab\r\n")
        self.say(Part(1, b"c", True))
        self.assertEqual(self.answer[1], b"2\r\nab\r\n1\r\nc\r\n")
        self.say(Part(2, b"", False))
        self.assertEqual(self.answer[1], b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")

    def test_the_connection_lives_on(self) -> None:
        for _ in range(3):
            self.transport.clear()
            self.ask("GET /app")
            self.say(ok(b"", True))
            self.say(Part(1, b"x", False))
            self.assertEqual(self.answer[1], b"1\r\nx\r\n0\r\n\r\n")
        self.assertFalse(self.transport.disconnecting)

    def test_a_head_has_the_length_of_what_it_stands_for(self) -> None:
        self.ask("HEAD /app")
        self.say(ok(b"", False, ("Content-Length", "5")))
        head, body = self.answer
        self.assertEqual(body, b"")
        self.assertIn(b"Content-Length: 5", head)

    def test_a_slow_client_makes_the_application_wait(self) -> None:
        self.ask("GET /app")
        self.say(ok(b"x" * PIECE, True))
        self.transport.fill()
        for number in (1, 2, 3):
            self.say(Part(number, b"x" * PIECE, True))
        self.assertEqual(self.told(), [])
        self.transport.empty()
        self.assertEqual(self.told(), [Credit(4 * PIECE)])
        self.say(Part(4, b"x" * PIECE, False))
        self.assertEqual(self.transport.value().count(b"x" * PIECE), 5)
        self.assertTrue(self.transport.value().endswith(b"\r\n0\r\n\r\n"))

    def test_a_client_that_takes_nothing_is_cut_off(self) -> None:
        self.ask("GET /app")
        self.say(ok(b"", True))
        self.transport.fill()
        self.say(Part(1, b"x", True))
        self.advance(61.0)
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(self.told()[-1], Cancel("gone"))

    def test_a_client_that_leaves_is_told(self) -> None:
        self.ask("GET /app")
        self.say(ok(b"", True))
        self.leave()
        self.assertEqual(self.told(), [Cancel("gone")])
        self.assertEqual(self.gateway.pending, 0)

    def test_a_client_that_leaves_before_the_answer_is_told(self) -> None:
        self.ask("GET /app")
        self.leave()
        self.assertEqual(self.gateway.pending, 0)
        self.say(ok())

    def test_an_error_is_one_sentence(self) -> None:
        self.ask("GET /app")
        self.say(Failed("app", "secret"))
        head, body = self.answer
        self.assertIn(b"HTTP/1.1 500 Internal Server Error", head)
        self.assertIn(b"Content-Type: text/plain; charset=utf-8", head)
        self.assertEqual(body, b"The application failed.\n")
        self.assertFalse(self.transport.disconnecting)

    def test_a_refusal_at_once_is_an_answer(self) -> None:
        self.link.press(True)
        self.post(b"x" * 2 * PIECE)
        self.assertIn(b"HTTP/1.1 503 Service Unavailable", self.answer[0])

    def test_an_answer_that_ends_in_the_middle_is_cut_off(self) -> None:
        self.ask("GET /app")
        self.say(ok(b"ab", True))
        self.say(Failed("lost", ""))
        self.assertEqual(self.answer[1], b"2\r\nab\r\n")
        self.assertTrue(self.transport.disconnecting)

    def test_an_answer_that_ends_with_the_connection_does_not_look_whole(self) -> None:
        self.ask("GET /app", version="HTTP/1.0")
        self.say(ok(b"ab", True))
        self.assertEqual(self.answer[1], b"ab")
        self.say(Failed("lost", ""))
        self.assertTrue(self.transport.disconnected)


class KleinTests(ResourceCase):
    """A branch of a Klein application."""

    def test_it_is_a_branch(self) -> None:
        app = Klein()

        @app.route("/shop/", branch=True)
        def shop(request: Any) -> IResource:
            return WSGIResource(self.gateway, MOUNT)

        self.connect(app.resource())
        for target, path in (("/shop/", "/"), ("/shop/a%20b/c?d", "/a%20b/c")):
            self.transport.clear()
            self.ask(f"GET {target}")
            self.assertEqual((self.sent.mount, self.sent.path), ("/shop", path))
            self.say(ok(b"x", False, ("Content-Length", "1")))
            self.assertEqual(self.answer[1], b"x")
