"""Request heads."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.sockets.heads import Head, HeadReader, Refusal, is_field, parse_head

GOOD = b"GET /ws?a=1&b=%20 HTTP/1.1\r\nHost: chat.example\r\nCookie: n=\xc3\xa9\r\n\r\n"


def refusal(data: bytes, limit: int = 16_384) -> int | None:
    """The status with which a head is refused."""
    try:
        HeadReader(limit).receive(data)
    except Refusal as refused:
        return refused.status
    return None


class HeadTests(SynchronousTestCase):
    """What a head says."""

    def head(self, *lines: str) -> Head:
        text = "\r\n".join(["GET /ws HTTP/1.1", *lines, "", ""])
        return parse_head(text.encode("latin-1"))

    def test_a_head_is_read(self) -> None:
        head = parse_head(GOOD)
        self.assertEqual((head.method, head.target, head.version), ("GET", "/ws?a=1&b=%20", (1, 1)))
        self.assertEqual((head.path, head.query), ("/ws", "a=1&b=%20"))
        self.assertEqual(head.values("host"), ["chat.example"])

    def test_names_have_no_case_and_values_no_edge_space(self) -> None:
        head = self.head("X-Thing: \t a b \t", "x-thing:c")
        self.assertEqual(head.values("x-thing"), ["a b", "c"])

    def test_lists_are_split_over_all_lines(self) -> None:
        head = self.head("Upgrade: h2c, ", "upgrade: , WebSocket")
        self.assertEqual(head.items("upgrade"), ["h2c", "WebSocket"])
        self.assertTrue(head.wants_websocket)

    def test_no_other_white_space_ends_a_member_of_a_list(self) -> None:
        head = self.head("Upgrade: websocket\x85", "Connection: close\xa0")
        self.assertEqual(head.items("upgrade"), ["websocket\x85"])
        self.assertEqual(head.items("connection"), ["close\xa0"])

    def test_another_upgrade_is_no_websocket(self) -> None:
        self.assertFalse(self.head("Upgrade: h2c").wants_websocket)

    def test_a_field_that_comes_once_must_come_once(self) -> None:
        self.assertIsNone(self.head().one("origin"))
        with self.assertRaises(Refusal) as caught:
            self.head("Origin: a", "Origin: b").one("origin")
        self.assertEqual(caught.exception.status, 400)

    def test_a_body_is_announced(self) -> None:
        self.assertTrue(self.head("Content-Length: 1").has_body)
        self.assertTrue(self.head("Transfer-Encoding: chunked").has_body)
        self.assertFalse(self.head("Content-Length: 0").has_body)
        self.assertFalse(self.head().has_body)


class HeadReaderTests(SynchronousTestCase):
    """What is not let in."""

    def test_what_follows_the_head_is_kept(self) -> None:
        result = HeadReader(16_384).receive(GOOD + b"\x81\x80more")
        assert result is not None
        self.assertEqual(result[1], GOOD + b"\x81\x80more")

    def test_a_target_with_a_host_is_one_without_and_that_is_the_host(self) -> None:
        for target, path in {
            "http://a.example:81/ws?b=/": "/ws?b=/",
            "HTTPS://a.example:81": "/",
            "http://a.example:81?b": "/?b",
        }.items():
            given = f"GET {target} HTTP/1.1\r\nA: \xe9\r\nHost: b\r\n\r\nmore"
            result = HeadReader(16_384).receive(given.encode("latin-1"))
            assert result is not None
            head, data = result
            self.assertEqual((head.target, head.values("host")), (path, ["a.example:81"]))
            self.assertEqual(head.values("a"), ["\xe9"])
            end = data.index(b"\r\n\r\n") + 4
            self.assertEqual(parse_head(data[:end]).fields(), head.fields())
            self.assertEqual(data[end:], b"more")

    def test_other_targets_stay(self) -> None:
        for target in ("*", "a.example:80", "http:///x", "ftp://a/", "http://u@a/", "http://a/#b"):
            data = f"OPTIONS {target} HTTP/1.1\r\nHost: b\r\n\r\n".encode()
            result = HeadReader(16_384).receive(data)
            assert result is not None
            self.assertEqual((result[0].target, result[1]), (target, data))

    def test_a_head_may_come_byte_by_byte(self) -> None:
        reader = HeadReader(16_384)
        results = [reader.receive(GOOD[i : i + 1]) for i in range(len(GOOD))]
        self.assertEqual(results[:-1], [None] * (len(GOOD) - 1))
        assert results[-1] is not None
        self.assertEqual(results[-1][1], GOOD)

    def test_one_empty_line_before_it_is_no_part_of_it(self) -> None:
        for size in (1, 2, 3, 5, 1_000):
            data = b"\r\n" + GOOD + b"rest"
            reader = HeadReader(len(GOOD))
            found = None
            for start in range(0, len(data), size):
                found = reader.receive(data[start : start + size])
                if found is not None:
                    break
            assert found is not None
            self.assertEqual(found[0].path, "/ws")
            self.assertTrue(found[1].startswith(GOOD), size)

    def test_a_second_one_is_refused(self) -> None:
        self.assertEqual(refusal(b"\r\n\r\n" + GOOD), 400)
        for bad in (b"\n" + GOOD, b"\r" + GOOD, b"\r\n " + GOOD):
            self.assertEqual(refusal(bad), 400, repr(bad[:4]))

    def test_with_the_empty_line_alone_it_has_not_begun(self) -> None:
        reader = HeadReader(16_384)
        self.assertFalse(reader.begun)
        reader.receive(b"\r\n")
        self.assertFalse(reader.begun)
        reader.receive(b"G")
        self.assertTrue(reader.begun)

    def test_bytes_that_are_line_breaks_to_some_are_refused(self) -> None:
        for byte in (0x00, 0x08, 0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x1F, 0x7F):
            head = GOOD.replace(b"chat", b"chat" + bytes([byte]) + b"X-Forwarded-For: 1.1.1.1")
            self.assertEqual(refusal(head), 400, hex(byte))
            self.assertFalse(is_field(b"X: a" + bytes([byte]) + b"b"), hex(byte))

    def test_all_characters_of_UTF_8_are_let_in(self) -> None:
        for word in ("тихо", "książka", "Ångström", "\x85", bytes(range(0x80, 256))):
            value = word if isinstance(word, bytes) else word.encode()
            head = b"GET /%b HTTP/1.1\r\nCookie: city=%b\r\n\r\n" % (value, value)
            result = HeadReader(16_384).receive(head)
            assert result is not None
            self.assertEqual(result[0].path.encode("latin-1"), b"/" + value)
            self.assertEqual(result[0].values("cookie"), [(b"city=" + value).decode("latin-1")])
            self.assertTrue(is_field(b"X: " + value))

    def test_they_are_refused_before_the_head_is_complete(self) -> None:
        self.assertEqual(refusal(b"\x16\x03\x01\x02\x00\x01"), 400)

    def test_bare_cr_and_bare_lf_are_refused(self) -> None:
        for bad in (b"a\rb", b"a\nb", b"a\n\rb", b"a\r\r\n"):
            self.assertEqual(refusal(GOOD.replace(b"chat", bad)), 400, repr(bad))
        self.assertEqual(refusal(GOOD.replace(b"\r\n", b"\n")), 400)

    def test_a_cr_at_the_end_of_a_read_waits_for_its_lf(self) -> None:
        reader = HeadReader(16_384)
        self.assertIsNone(reader.receive(b"GET / HTTP/1.1\r"))
        self.assertIsNone(reader.receive(b"\n\r"))
        self.assertIsNotNone(reader.receive(b"\n"))

    def test_a_cr_at_the_end_of_a_read_without_lf_is_refused(self) -> None:
        reader = HeadReader(16_384)
        reader.receive(b"GET / HTTP/1.1\r")
        with self.assertRaises(Refusal):
            reader.receive(b"X: y")

    def test_an_endless_head_is_refused_at_the_limit(self) -> None:
        self.assertIsNone(refusal(b"GET / HTTP/1.1\r\nX: " + b"a" * 16_364))
        self.assertEqual(refusal(b"GET / HTTP/1.1\r\nX: " + b"a" * 16_365), 431)

    def test_a_complete_head_over_the_limit_is_refused(self) -> None:
        self.assertEqual(refusal(GOOD, len(GOOD) - 1), 431)
        self.assertIsNone(refusal(GOOD, len(GOOD)))

    def test_only_the_head_counts_for_the_limit(self) -> None:
        self.assertIsNone(refusal(GOOD + b"\x00" * 100_000, len(GOOD)))

    def test_what_is_not_http_is_refused(self) -> None:
        for first in (b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"",
                      b"G(T / HTTP/1.1", b"GET / http/1.1", b"GET /a b HTTP/1.1"):  # fmt: skip
            self.assertEqual(refusal(first + b"\r\nHost: a\r\n\r\n"), 400, repr(first))

    def test_other_versions_are_refused(self) -> None:
        for version in (b"2.0", b"0.9", b"1.2"):
            self.assertEqual(refusal(b"GET / HTTP/" + version + b"\r\n\r\n"), 505)

    def test_two_hosts_are_refused(self) -> None:
        for hosts in (b"Host: a\r\nHost: b", b"Host: a\r\nX: y\r\nhOST: a"):
            self.assertEqual(refusal(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n\r\n"), 400, repr(hosts))

    def test_folded_and_nameless_fields_are_refused(self) -> None:
        for line in (b" folded: yes", b"\tfolded: yes", b": x", b"no colon", b"Host : a",
                     b"N\xa0ame: x"):  # fmt: skip
            self.assertEqual(refusal(b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n"), 400, repr(line))

    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_nothing_but_a_refusal_is_raised(self, data: bytes, size: int) -> None:
        reader = HeadReader(100)
        try:
            for start in range(0, len(data), size):
                if reader.receive(data[start : start + size]):
                    break
        except Refusal as refused:
            self.assertIn(refused.status, (400, 431, 505))

    @given(st.text(alphabet=st.characters(min_codepoint=1, max_codepoint=255), max_size=60))
    def test_a_head_that_passes_has_the_same_lines_for_every_reader(self, value: str) -> None:
        data = b"GET / HTTP/1.1\r\nX: " + value.encode("latin-1") + b"\r\n\r\n"
        try:
            result = HeadReader(16_384).receive(data)
        except Refusal:
            return
        assert result is not None
        head = data[: data.index(b"\r\n\r\n")]
        # Byte 85 is refused where a reader splits there: see test_handshake.py.
        text = head.decode("latin-1").replace("\x85", "")
        self.assertEqual(text.splitlines(), text.split("\r\n"))
        self.assertEqual(len(re.split(rb"[\r\n]+", head)), len(head.split(b"\r\n")))


class RefusalTests(SynchronousTestCase):
    """The answer to a request that is refused."""

    def test_it_is_a_whole_answer(self) -> None:
        text = Refusal(403, "No.", (("X-Y", "z"),)).response().decode()
        head, _, body = text.partition("\r\n\r\n")
        self.assertEqual(body, "No.\n")
        self.assertIn("HTTP/1.1 403 Forbidden\r\n", head)
        self.assertIn("\r\nContent-Length: 4\r\n", head)
        self.assertIn("\r\nX-Y: z\r\n", head)
        self.assertTrue(head.endswith("\r\nConnection: close"))
        self.assertNotIn("Server", head)
