"""What applications are told of requests, and what wsgiref's validator says of it."""

from __future__ import annotations

import sys
from typing import Any
from wsgiref.util import request_uri
from wsgiref.validate import validator

from twisted.trial.unittest import SynchronousTestCase

from tests.wsgi.inside_case import LaneCase, request
from twbridge.wsgi.inside.environ import common, environ_of
from twbridge.wsgi.inside.input import Input
from twbridge.wsgi.inside.lane import Exchange
from twbridge.wsgi.messages import Request


def environ(asked: Request, threads: int = 1) -> dict[str, Any]:
    """The environment of a request."""
    exchange: Exchange = None  # type: ignore[assignment]
    return environ_of(asked, Input(exchange, asked), common(threads))


class EnvironTests(SynchronousTestCase):
    """The variables of PEP 3333 and of CGI."""

    def test_the_request_line_and_both_ends_are_there(self) -> None:
        found = environ(request("/a/b", query="x=1&y=2"))
        expected = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "/app",
            "PATH_INFO": "/a/b",
            "QUERY_STRING": "x=1&y=2",
            "REQUEST_URI": "/app/a/b?x=1&y=2",
            "RAW_URI": "/app/a/b?x=1&y=2",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "example.org",
            "SERVER_PORT": "8080",
            "REMOTE_ADDR": "192.0.2.7",
            "REMOTE_PORT": "4321",
            "HTTP_HOST": "x",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
        self.assertEqual({name: found[name] for name in expected}, expected)
        self.assertIs(found["wsgi.errors"], sys.stderr)
        self.assertEqual(request_uri(found), "http://x/app/a/b?x=1&y=2")

    def test_the_path_is_decoded_to_bytes_that_are_latin_1(self) -> None:
        found = environ(request("/Zo%C3%AB%2Fa%20b/\xff%ff%zz"))
        self.assertEqual(found["PATH_INFO"], "/Zo\xc3\xab/a b/\xff\xff%zz")
        self.assertEqual(found["RAW_URI"], "/app/Zo%C3%AB%2Fa%20b/\xff%ff%zz")
        self.assertEqual(found["PATH_INFO"][:5].encode("latin-1").decode(), "/Zoë")

    def test_the_mount_is_the_script_name(self) -> None:
        for mount, path, script, info, uri in (
            ("/app", "", "/app", "", "/app"),
            ("/app", "/", "/app", "/", "/app/"),
            ("", "/x", "", "/x", "/x"),
            ("", "", "", "/", ""),
            ("/a/b%20c", "/", "/a/b c", "/", "/a/b%20c/"),
        ):
            found = environ(request(path, mount=mount))
            names = ("SCRIPT_NAME", "PATH_INFO", "RAW_URI")
            self.assertEqual([found[name] for name in names], [script, info, uri])

    def test_fields_of_one_name_are_joined(self) -> None:
        asked = request()
        asked.fields = [
            ("accept", "a"),
            ("cookie", "a=1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("accept", "b"),
            ("cookie", "b=2"),
            ("content-type", "text/plain"),
            ("content-type", "text/html"),
        ]
        found = environ(asked)
        self.assertEqual(found["HTTP_ACCEPT"], "a, b")
        self.assertEqual(found["HTTP_COOKIE"], "a=1; b=2")
        self.assertEqual(found["HTTP_X_FORWARDED_FOR"], "10.0.0.1")
        self.assertEqual(found["CONTENT_TYPE"], "text/plain")

    def test_no_field_can_stand_for_another_one_or_for_a_setting(self) -> None:
        fields = {
            "proxy": "http://evil",
            "x_real_ip": "1",
            "remote-addr": "2",
            "content_length": "9",
        }
        found = environ(request(fields=fields))
        self.assertFalse({"HTTP_PROXY", "HTTP_X_REAL_IP", "CONTENT_LENGTH", ""} & set(found))
        self.assertEqual(found["REMOTE_ADDR"], "192.0.2.7")
        self.assertEqual(found["HTTP_REMOTE_ADDR"], "2")

    def test_the_length_is_told_where_it_is_known_and_matters(self) -> None:
        said = {"content-length": "5"}
        for asked, expected in (
            (request(), None),
            (request(fields={"content-length": "0"}), "0"),
            (request(fields=said, length=5, body=b"ab", more=True), "5"),
            (request(length=5, body=b"ab", more=True), "5"),
            # Chunked: told where the whole of it is there.
            (request(length=None, body=b"abc"), "3"),
            (request(length=None, body=b"abc", more=True), None),
            (request(length=None), None),
            (request(fields=said, length=None, body=b"ab", more=True), None),
        ):
            self.assertEqual(environ(asked).get("CONTENT_LENGTH"), expected)
            self.assertNotIn("HTTP_CONTENT_LENGTH", environ(asked))

    def test_there_may_always_be_other_processes_and_threads_where_there_are_some(self) -> None:
        for threads in (1, 2):
            found = environ(request(), threads)
            self.assertIs(found["wsgi.multiprocess"], True)
            self.assertEqual(found["wsgi.multithread"], threads > 1)

    def test_no_port_of_the_client_is_none(self) -> None:
        self.assertNotIn("REMOTE_PORT", environ(request(client=("unix", 0))))


class ValidatorTests(LaneCase):
    """wsgiref's validator between us and the application finds nothing."""

    def check(self, app: Any, asked: Request) -> tuple[int, bytes]:
        start, body = self.answer(validator(app), asked)
        self.assertEqual(self.errors.getvalue(), "")
        return start.status, body

    def test_of_a_page(self) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
            return [b"hello"]

        for method in ("GET", "HEAD", "POST", "OPTIONS", "PATCH", "PUT", "DELETE"):
            body = b"" if method == "HEAD" else b"hello"
            self.assertEqual(self.check(app, request(method=method)), (200, body))
        self.assertEqual(self.check(app, request("", mount="/x")), (200, b"hello"))
        self.assertEqual(self.check(app, request("", mount="")), (200, b"hello"))

    def test_of_all_ways_to_read_and_write(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            read = environ["wsgi.input"]
            found = [read.readline(), read.readline(2), *read.readlines(1), read.read(3)]
            found += [*read, read.read(10)]
            environ["wsgi.errors"].writelines([])
            environ["wsgi.errors"].flush()
            write = start_response("200 OK", [("Content-Type", "text/plain")], None)
            write(b"|".join(found))
            yield b"."
            yield b""
            yield b"!"

        body = b"one\ntwo\nthree\nfour\nfive"
        asked = request(method="POST", body=body, fields={"content-type": "text/plain"})
        self.assertEqual(self.check(app, asked), (200, b"one\n|tw|o\n|thr|ee\n|four\n|five|.!"))

    def test_of_answers_without_a_body(self) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("304 Not Modified", [("ETag", '"1"')])
            return []

        self.assertEqual(self.check(app, request()), (304, b""))

    def test_of_a_file(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [("Content-Type", "text/x-python")])
            return environ["wsgi.file_wrapper"](open(__file__, "rb"), 100)

        with open(__file__, "rb") as file:
            self.assertEqual(self.check(app, request()), (200, file.read()))
