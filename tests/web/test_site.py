"""The pages, over the wire."""

from __future__ import annotations

import re

from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import resource

from tests.fake_sockets import FakeSocket, connect, upgrade
from twbridge.settings import Route
from twbridge.sockets.census import Lease
from twbridge.sockets.front import FrontFactory
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import Client
from twbridge.web.files import CONTENT_SECURITY_POLICY, load
from twbridge.web.site import WebSite


class Nobody:
    """Lets no WebSocket in."""

    def admit(self, head: Head, client: Client, lease: Lease) -> IProtocol:
        raise Refusal(404, "No.")


class Answer:
    """A parsed answer."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.phrase = first.split(" ", 2)[2]
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }


class SiteTestCase(SynchronousTestCase):
    """The site behind the door."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ready = (True, "ready")
        route = Route(path="/ws", subscribe="/topic/a&b", publish="/topic/%22")
        self.site = WebSite(
            lambda: self.ready, chat=route, websocket_paths=("/ws", "/feed"), clock=self.clock
        )
        self.files = load(socket="./ws", subscribe=route.subscribe, publish=route.publish)
        self.front = FrontFactory(Nobody(), self.site, clock=self.clock)

    def send(self, request: bytes) -> FakeSocket:
        socket = connect(self.front, self.clock)
        socket.deliver(request)
        self.clock.advance(0)
        return socket

    def ask(self, path: str, method: str = "GET", *lines: str) -> Answer:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: chat.example", *lines, "", ""])
        return Answer(self.send(head.encode()).received)


class PageTests(SiteTestCase):
    """The chat page and its files."""

    def test_the_page_is_at_the_root(self) -> None:
        answer = self.ask("/")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        self.assertIn(b"<title>twbridge chat</title>", answer.body)

    def test_everything_it_names_is_there_and_ours(self) -> None:
        page = self.ask("/").body.decode()
        names = re.findall(r'(?:href|src)="([^"#]+)"', page)
        self.assertEqual(
            set(names), {"static/icon.svg", "static/chat.css", "static/chat.js"}, names
        )
        for name in names:
            self.assertEqual(self.ask(f"/{name}").status, 200, name)

    def test_scripts_import_only_what_is_there(self) -> None:
        for name, file in self.files.items():
            if name.endswith(".js"):
                for imported in re.findall(r'from "\./([^"]+)"', file.content.decode()):
                    self.assertEqual(self.ask(f"/static/{imported}").status, 200)

    def test_the_chat_is_that_of_the_route(self) -> None:
        page = self.ask("/").body.decode()
        for attribute in ('socket="./ws"', 'subscribe="/topic/a&amp;b"', 'publish="/topic/%22"'):
            self.assertIn(f"data-{attribute}", page)

    def test_no_file_names_another_host(self) -> None:
        for name, file in self.files.items():
            text = file.content.decode().replace("http://www.w3.org/2000/svg", "")
            self.assertNotRegex(text, r"https?://", name)

    def test_nothing_in_the_page_is_inline(self) -> None:
        page = self.files["index.html"].content.decode()
        self.assertNotRegex(page, r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)")

    def test_nothing_becomes_html(self) -> None:
        for name, file in self.files.items():
            self.assertNotRegex(
                file.content.decode(), r"innerHTML|outerHTML|insertAdjacentHTML|eval\(", name
            )

    def test_without_a_page_the_library_is_all(self) -> None:
        site = WebSite(lambda: self.ready, chat=None, clock=self.clock)
        self.front.site = site
        for path, status in {
            "/": 404,
            "/static/chat.js": 404,
            "/static/index.html": 404,
            "/static/twbridge.js": 200,
            "/healthz": 200,
        }.items():
            self.assertEqual(self.ask(path).status, status, path)
        self.assertFalse(site.knows("/static/icon.svg"))
        self.assertTrue(self.site.knows("/static/icon.svg"))

    def test_a_browser_that_has_it_is_told_so(self) -> None:
        first = self.ask("/static/chat.js")
        self.assertEqual(first.headers["content-type"], "text/javascript; charset=utf-8")
        again = self.ask("/static/chat.js", "GET", f"If-None-Match: {first.headers['etag']}")
        self.assertEqual((again.status, again.body), (304, b""))
        self.assertEqual(first.headers["cache-control"], "no-cache")

    def test_what_is_not_there_is_404_in_plain_text(self) -> None:
        for path in (
            "/nothing",
            "/static",
            "/static/",
            "/static/nothing.js",
            "/static/../site.py",
            "/static/%2e%2e/site.py",
            "/static/..%2fsite.py",
            "/static/chat.js/more",
            "/healthz/more",
            "//",
        ):
            answer = self.ask(path)
            self.assertEqual(answer.status, 404, path)
            self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")

    def test_what_is_not_there_is_404_for_every_method(self) -> None:
        for path in ("/api/publish/", "/nothing", "/healthz/more"):
            self.assertEqual(self.ask(path, "POST").status, 404, path)

    def test_pages_are_only_read(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = self.ask("/", method)
            self.assertEqual(answer.status, 405)
            self.assertEqual(answer.headers["allow"], "GET, HEAD")

    def test_head_is_get_without_its_body(self) -> None:
        get, head = self.ask("/"), self.ask("/", "HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], str(len(get.body)))

    def test_a_plain_request_where_a_websocket_is_says_so(self) -> None:
        for path in ("/ws", "/feed?x=1"):
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.phrase), (426, "Upgrade Required"))
            self.assertEqual(answer.headers["upgrade"], "websocket")


class HeaderTests(SiteTestCase):
    """What every answer has, and has not."""

    def test_the_policy_is_strict(self) -> None:
        for path in ("/", "/static/chat.js", "/healthz", "/nothing"):
            headers = self.ask(path).headers
            self.assertEqual(headers["content-security-policy"], CONTENT_SECURITY_POLICY)
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["x-frame-options"], "DENY")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
        self.assertIn("default-src 'none'", CONTENT_SECURITY_POLICY)
        self.assertNotIn("unsafe", CONTENT_SECURITY_POLICY)

    def test_nothing_says_what_made_it(self) -> None:
        answers = [
            self.send(request).received
            for request in (
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
                b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                b"nonsense\r\n\r\n",
                upgrade("/nothing"),
            )
        ]
        for answer in answers:
            self.assertTrue(answer.startswith(b"HTTP/1.1 "), answer)
            self.assertNotRegex(answer.partition(b"\r\n\r\n")[0], b"(?i)server|twisted|python")

    def test_an_error_inside_shows_nothing_and_is_logged(self) -> None:
        class Broken(resource.Resource):
            isLeaf = True

            def render(self, request: object) -> bytes:
                raise RuntimeError("secret")

        self.site.resource.putChild(b"broken", Broken())
        answer = self.ask("/broken")
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ConnectionTests(SiteTestCase):
    """One request a connection."""

    def test_the_connection_is_closed(self) -> None:
        socket = self.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", socket.received)
        self.assertTrue(socket.lost)

    def test_a_second_request_is_not_answered(self) -> None:
        request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        socket = self.send(request + request)
        self.assertEqual(socket.received.count(b"HTTP/1.1 200"), 1)

    def test_old_clients_are_answered_too(self) -> None:
        self.assertIn(b" 200 OK\r\n", self.send(b"GET /healthz HTTP/1.0\r\n\r\n").received)

    def test_a_body_that_never_comes_is_not_waited_for(self) -> None:
        socket = self.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        self.clock.pump([1] * 40)
        self.assertTrue(socket.lost)
        self.assertEqual(self.front.census.total, 0)

    def test_no_timer_is_left(self) -> None:
        self.ask("/")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class HealthTests(SiteTestCase):
    """For those who watch."""

    def test_healthz_says_that_the_process_lives(self) -> None:
        self.ready = (False, "no")
        answer = self.ask("/healthz")
        self.assertEqual((answer.status, answer.body), (200, b"alive\n"))

    def test_readyz_says_whether_and_why(self) -> None:
        answer = self.ask("/readyz")
        self.assertEqual((answer.status, answer.body), (200, b"ready\n"))
        self.ready = (False, "draining")
        answer = self.ask("/readyz")
        self.assertEqual((answer.status, answer.body), (503, b"draining\n"))
        self.assertEqual(answer.headers["cache-control"], "no-store")
