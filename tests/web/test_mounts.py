"""Whose a path is, and what a worker gets of a request."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import FakeSocket, connect
from tests.web.harness import Answer, Nobody
from twbridge.settings import Route as RouteSettings
from twbridge.sockets.front import FrontFactory
from twbridge.sockets.heads import Head, parse_head
from twbridge.sockets.origins import Client, Listener
from twbridge.web.mounts import Mounts
from twbridge.web.site import WebSite
from twbridge.wsgi.messages import WINDOW, Request
from twbridge.wsgi.ports import Answering, GatewayError, Mount

APP, DEEP, ALL = Mount("/app", 100), Mount("/app/deep"), Mount("/")


class FakeGateway:
    """Keeps what is forwarded; a test answers it."""

    def __init__(self) -> None:
        self.requests: list[tuple[Request, Mount, Answering]] = []

    def forward(self, request: Request, mount: Mount, answer: Answering) -> FakeGateway:
        self.requests.append((request, mount, answer))
        return self

    def upload(self, data: bytes, more: bool) -> None:
        pass

    def drained(self, size: int) -> None:
        pass

    def gone(self) -> None:
        pass


class MountsCase(SynchronousTestCase):
    """A listener with the site, and mounts."""

    mounts: tuple[Mount, ...] = ()
    open = False
    listener = Listener(proxies=("10.0.0.0/8",))

    def setUp(self) -> None:
        self.clock = Clock()
        self.gateway = FakeGateway()
        self.asked: list[str] = []
        self.site = WebSite(
            lambda: (True, "ready"),
            chat=RouteSettings(),
            websocket_paths=["/ws", "/stomp"],
            clock=self.clock,
        )
        self.found = Mounts(
            self.gateway, self.mounts, self.is_open, self.site.knows, ("here", 8080)
        )
        self.front = FrontFactory(
            Nobody(),
            self.site,
            relays=self.found.find,
            clock=self.clock,
            listener=self.listener,
        )

    def is_open(self, head: Head, client: Client) -> bool:
        self.asked.append(client.address)
        return self.open

    def ask(
        self,
        target: str,
        *lines: str,
        host: str | None = "chat.example:81",
        version: str = "1.1",
        address: str | IAddress = "192.0.2.1",
    ) -> FakeSocket:
        head = [f"GET {target} HTTP/{version}", *([f"Host: {host}"] if host is not None else [])]
        socket = connect(self.front, self.clock, address)
        socket.deliver("\r\n".join([*head, *lines, "", ""]).encode("latin-1"))
        self.clock.advance(0)
        return socket

    def mount_of(self, target: str) -> str | None:
        """The mount that gets a request; None: the site, or nobody."""
        head = parse_head(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"))
        found = self.found.find(head, Client("127.0.0.1", False, False, "a"))
        return found.mount.path if found else None

    def request(self, target: str, *lines: str, **fields: Any) -> Request:
        """What a worker gets."""
        self.ask(target, *lines, **fields)
        return self.gateway.requests[-1][0]

    def status(self, socket: FakeSocket) -> int:
        return Answer(socket.received).status


class NamedTests(MountsCase):
    """Mounts that the settings name."""

    mounts = (APP, DEEP)

    def test_the_longest_wins_and_ends_with_a_segment(self) -> None:
        for target, mount in {
            "/app": "/app",
            "/app/": "/app",
            "/app?a=/app/deep": "/app",
            "/app/x/deep": "/app",
            "/app/deeper": "/app",
            "/app/deep": "/app/deep",
            "/app/deep/x": "/app/deep",
            "/application": None,
            "/App": None,
            "/ap": None,
            "//app": None,
            "/%61pp": None,
            "/": None,
            "*": None,
            "http://chat.example/app": None,
        }.items():
            self.assertEqual(self.mount_of(target), mount, target)
        self.assertTrue(self.asked)

    def test_nobody_is_asked_who_may_use_them(self) -> None:
        self.mount_of("/app")
        self.assertEqual(self.asked, [])

    def test_their_limits_are_theirs(self) -> None:
        socket = self.ask("/app/x", "Content-Length: 101")
        self.assertEqual(self.status(socket), 413)
        self.ask("/app/deep", "Content-Length: 101")
        self.assertEqual(self.gateway.requests, [])

    def test_without_a_worker_they_are_503(self) -> None:
        socket = self.ask("/app/x")
        error = GatewayError(503, "No worker serves this.", unserved=True)
        self.gateway.requests[-1][2].failed(error)
        answer = Answer(socket.received)
        self.assertEqual((answer.status, answer.body), (503, b"No worker serves this.\n"))
        self.assertEqual(answer.fields["retry-after"], "5")


class WholeTests(MountsCase):
    """A mount of everything."""

    mounts = (ALL, APP)

    def test_our_own_paths_stay_ours(self) -> None:
        own = ["/healthz", "/readyz", "/ws", "/stomp"]
        for target in [*own, "/static/twbridge.js", "/healthz?a", "*"]:
            self.assertIsNone(self.mount_of(target), target)
        self.assertEqual(self.status(self.ask("/healthz")), 200)
        self.assertEqual(self.status(self.ask("/ws")), 426)

    def test_all_others_are_its(self) -> None:
        for target in ("/", "/?a", "/x", "/static/x.css", "/healthz/x", "/api/x", "//x", "/.."):
            self.assertEqual(self.mount_of(target), "/", target)
        self.assertEqual(self.mount_of("/app/x"), "/app")

    def test_its_path_is_all_of_it(self) -> None:
        request = self.request("/x/y?a=1")
        self.assertEqual((request.mount, request.path, request.query), ("", "/x/y", "a=1"))
        request = self.request("/")
        self.assertEqual((request.mount, request.path), ("", "/"))


class GuessTests(MountsCase):
    """Mounts that nobody has named."""

    open = True

    def test_the_first_segment_is_tried(self) -> None:
        for target, mount in {
            "/app": "/app",
            "/app/x?a": "/app",
            "/a.b-c_d~1/": "/a.b-c_d~1",
            "/": None,
            "//app": None,
            "/../app": None,
            "/./app": None,
            "/a%20b/": None,
            "/a;b/": None,
            "/" + "a" * 101: None,
            "/api/x": None,
            "/api/": None,
            "/healthz": None,
            "/static/twbridge.js": None,
        }.items():
            self.assertEqual(self.mount_of(target), mount, target)

    def test_it_has_defaults(self) -> None:
        self.ask("/app/x", host="localhost")
        self.assertEqual(self.gateway.requests[0][1], Mount("/app", named=False))

    def test_without_a_worker_there_is_nothing(self) -> None:
        socket = self.ask("/app/x")
        error = GatewayError(503, "No worker serves this.", unserved=True)
        self.gateway.requests[-1][2].failed(error)
        answer = Answer(socket.received)
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.body, b"There is nothing here, and no worker serves /app.\n")

    def test_other_failures_are_what_they_are(self) -> None:
        socket = self.ask("/app/x")
        self.gateway.requests[-1][2].failed(GatewayError(504, "Too late."))
        self.assertEqual(self.status(socket), 504)

    def test_not_where_rules_are(self) -> None:
        self.open = False
        self.assertEqual(self.status(self.ask("/app/x")), 404)
        self.assertEqual(self.gateway.requests, [])
        self.assertEqual(self.asked, ["192.0.2.1"])


class RequestTests(MountsCase):
    """What a worker gets."""

    mounts = (APP,)

    def test_a_request(self) -> None:
        request = self.request("/app/a%20b/?q=1?2", "X-A: 1", "Connection: close, X-B", "X-B: 2")
        fields = [("host", "chat.example:81"), ("x-a", "1")]
        self.assertEqual(
            request,
            Request(
                "GET",
                "/app",
                "/a%20b/",
                "q=1?2",
                "HTTP/1.1",
                "http",
                ("chat.example", 81),
                ("192.0.2.1", 0),
                fields,
                0,
                b"",
                True,
                WINDOW,
                30.0,
            ),
        )

    def test_the_bare_mount_has_no_path(self) -> None:
        request = self.request("/app?a")
        self.assertEqual((request.mount, request.path, request.query), ("/app", "", "a"))

    def test_behind_a_proxy_it_is_the_clients(self) -> None:
        request = self.request(
            "/app",
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop.example",
            address="10.0.0.1",
        )
        self.assertEqual(request.client, ("198.51.100.7", 0))
        self.assertEqual((request.scheme, request.server), ("https", ("shop.example", 443)))
        hosts = [value for name, value in request.fields if name == "host"]
        self.assertEqual(hosts, ["shop.example"])

    def test_so_is_the_host_that_a_proxy_tells_and_nothing_else(self) -> None:
        for host, version in (("chat.example:81", "1.1"), (None, "1.0")):
            request = self.request(
                "/app",
                "X-Forwarded-Host: shop.example",
                host=host,
                version=version,
                address="10.0.0.1",
            )
            self.assertEqual(request.server, ("shop.example", 80))
            hosts = [value for name, value in request.fields if name == "host"]
            self.assertEqual(hosts, ["shop.example"])

    def test_a_stranger_is_not_believed(self) -> None:
        request = self.request("/app", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https")
        self.assertEqual((request.scheme, request.client), ("http", ("192.0.2.1", 0)))
        request = self.request("/app", "X-Forwarded-Host: shop.example")
        self.assertIn(("host", "chat.example:81"), request.fields)

    def test_on_a_unix_socket_a_client_has_no_address(self) -> None:
        request = self.request("/app", address=UNIXAddress(b"/run/bridge.sock"))
        self.assertEqual(request.client, ("", 0))
        forwarded = "X-Forwarded-For: 198.51.100.7"
        request = self.request("/app", forwarded, address=UNIXAddress(None))
        self.assertEqual(request.client, ("198.51.100.7", 0))

    def test_names_of_hosts(self) -> None:
        for host, server in {
            "a": ("a", 80),
            "a:": ("a", 80),
            "[::1]:8080": ("[::1]", 8080),
            "127.0.0.1:1": ("127.0.0.1", 1),
        }.items():
            self.assertEqual(self.request("/app", host=host).server, server)
        for host in ("a b", "a:b", "a:70000", "u@a", "a/b", "[x]", "[::1"):
            self.assertEqual(self.status(self.ask("/app", host=host)), 400, host)

    def test_a_host_is_needed_but_in_HTTP_1_0(self) -> None:
        self.assertEqual(self.status(self.ask("/app", host=None)), 400)
        request = self.request("/app", host=None, version="1.0")
        self.assertEqual((request.version, request.server), ("HTTP/1.0", ("here", 8080)))
        self.assertEqual(self.request("/app", host="").server, ("here", 8080))

    def test_a_fragment_is_400(self) -> None:
        self.assertEqual(self.status(self.ask("/app/#x")), 400)
        self.assertEqual(self.gateway.requests, [])
