"""Unmodified applications behind the bridge: Flask and Django."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

from tests.integration.wsgi_cases import DJANGO, FLASK, ONE, WsgiCase, cookies, form
from tests.integration.wsgi_client import Answer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
#: More than Flask and Django keep in memory of an upload, and many pieces.
UPLOAD = bytes(range(256)) * 12_000
MOUNTS = {"flask": "", "site": ""}
SERVED = (("flask", FLASK, *ONE), ("site", DJANGO, *ONE))
SECRET = "a secret of the inside"


class Frameworks(WsgiCase):
    """What an application may rely on from its server."""

    def visible(self, answer: Answer, status: int, text: str) -> None:
        self.assertEqual((answer.status, answer.text), (status, text))

    async def test_flask_answers_routes_with_queries_and_errors(self) -> None:
        self.visible(await self.ask("GET", self.path("flask", "/")), 200, "Hello from Flask")
        target = self.path("flask", f"/users/{quote('Zoë')}?greeting={quote('Grüß Gott')}")
        self.visible(await self.ask("GET", target), 200, "Grüß Gott, Zoë!")
        missing = await self.ask("GET", self.path("flask", "/nothing"))
        self.assertEqual((missing.status, missing.json["path"]), (404, "/nothing"))
        self.assertEqual((await self.ask("GET", self.path("flask", "/teapot"))).status, 418)
        self.assertEqual((await self.ask("DELETE", self.path("flask", "/"))).status, 405)
        failed = await self.ask("GET", self.path("flask", "/error"))
        self.assertEqual((failed.status, failed.reason), (500, "INTERNAL SERVER ERROR"))
        self.assertNotIn(SECRET, failed.text)
        self.assertIn(SECRET, self.workers[0].said)

    async def test_flask_knows_where_it_is_mounted(self) -> None:
        moved = await self.ask("GET", self.path("flask", "/old"))
        self.assertEqual(moved.status, 302)
        self.assertEqual(moved.field("location"), self.path("flask", f"/users/{quote('Zoë')}"))
        self.visible(await self.ask("GET", moved.field("location")), 200, "Hello, Zoë!")
        whole = await self.ask(
            "GET", self.path("flask", "/outside"), fields={"Host": "shop.example"}
        )
        self.visible(whole, 200, "http://shop.example" + self.path("flask", "/users/x"))

    async def test_flask_keeps_cookies_and_sessions(self) -> None:
        first = await self.ask("GET", self.path("flask", "/cookie"))
        self.assertEqual(first.text, "never")
        self.assertEqual(len(first.all("set-cookie")), 2)
        self.assertIn(f"Path={self.path('flask')}", first.all("set-cookie")[0])
        second = await self.ask("GET", self.path("flask", "/cookie"), fields=cookies(first))
        self.assertEqual(second.text, "once")
        answer = await self.ask("GET", self.path("flask", "/visits"))
        for number in ("2", "3"):
            kept = cookies(answer)
            answer = await self.ask("GET", self.path("flask", "/visits"), fields=kept)
            self.visible(answer, 200, number)

    async def test_flask_reads_forms_json_and_files(self) -> None:
        body = f"name={quote('Zoë')}&pet=cat&pet=dog".encode()
        told = await self.ask("POST", self.path("flask", "/form"), body, FORM)
        self.assertEqual(told.json, {"name": ["Zoë"], "pet": ["cat", "dog"]})

        fields = {"Content-Type": "application/json"}
        told = await self.ask("PUT", self.path("flask", "/json"), b'{"a": [1]}', fields)
        self.assertEqual((told.status, told.json), (201, {"got": {"a": [1]}, "who": "127.0.0.1"}))
        self.assertEqual(told.field("x-kind"), "test")
        told = await self.ask("PUT", self.path("flask", "/json"), b"{", fields)
        self.assertEqual(told.status, 400)

        body, fields = form("b0undary", "päper.bin", UPLOAD, title="A title")
        told = await self.ask("POST", self.path("flask", "/files"), body, fields)
        expected = {
            "name": "päper.bin",
            "type": "application/octet-stream",
            "size": len(UPLOAD),
            "sha256": hashlib.sha256(UPLOAD).hexdigest(),
            "title": "A title",
        }
        self.assertEqual(told.json, expected)

    async def test_flask_streams(self) -> None:
        answer = await self.ask("GET", self.path("flask", "/lines?count=5000"))
        self.assertEqual(answer.field("transfer-encoding"), "chunked")
        self.assertEqual(answer.text, "".join(f"line {number}\n" for number in range(5000)))

    async def test_django_has_forms_sessions_redirects_and_static_files(self) -> None:
        page = await self.ask("GET", self.path("site", "/"))
        self.assertIn("Hello, whoever you are: visit 1.", page.text)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        action = re.search(r'action="([^"]+)"', page.text)
        assert token is not None
        assert action is not None
        self.assertEqual(action[1], self.path("site", "/greet/"))

        body = f"csrfmiddlewaretoken={token[1]}&name={quote('Zoë')}".encode()
        refused = await self.ask("POST", action[1], body, FORM)
        self.assertEqual(refused.status, 403)
        moved = await self.ask("POST", action[1], body, FORM | cookies(page))
        self.assertEqual((moved.status, moved.field("location")), (302, self.path("site", "/")))
        page = await self.ask("GET", self.path("site", "/"), fields=cookies(page, moved))
        self.assertIn("Hello, Zoë: visit 2.", page.text)

        moved = await self.ask("GET", self.path("site", "/lines?count=1"))
        self.assertEqual(moved.field("location"), self.path("site", "/lines/?count=1"))
        style = await self.ask("GET", self.path("site", "/static/site.css"))
        self.visible(style, 200, "p { color: green }\n")
        self.assertEqual(style.field("content-type"), "text/css")
        fresh = {"If-Modified-Since": style.field("last-modified")}
        known = await self.ask("GET", self.path("site", "/static/site.css"), fields=fresh)
        self.assertEqual((known.status, known.body), (304, b""))
        self.assertEqual((await self.ask("GET", self.path("site", "/nothing/"))).status, 404)
        failed = await self.ask("GET", self.path("site", "/error/"))
        self.assertEqual(failed.status, 500)
        self.assertNotIn(SECRET, failed.text)

    async def test_django_streams_and_takes_files(self) -> None:
        answer = await self.ask("GET", self.path("site", "/lines/?count=2000"))
        self.assertEqual(answer.text, "".join(f"line {number}\n" for number in range(2000)))

        page = await self.ask("GET", self.path("site", "/"))
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        body, fields = form("b0undary", "paper.bin", UPLOAD, csrfmiddlewaretoken=token[1])
        told = await self.ask("POST", self.path("site", "/upload/"), body, fields | cookies(page))
        expected = {
            "name": "paper.bin",
            "size": len(UPLOAD),
            "sha256": hashlib.sha256(UPLOAD).hexdigest(),
            "kind": "TemporaryUploadedFile",
        }
        self.assertEqual(told.json, expected)
