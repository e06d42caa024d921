from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.wsgi.fields import checked, content_length, forwarded, is_bodiless

LATIN = st.text(st.characters(max_codepoint=255), max_size=8)


class ForwardedTests(SynchronousTestCase):
    """What an application gets to see of a request."""

    def test_names_are_in_small_letters_and_in_their_order(self) -> None:
        fields = [("Host", "a"), ("Accept", "b"), ("X-A", "1"), ("x-a", "2"), ("Proxying", "y")]
        self.assertEqual(
            forwarded(fields),
            [("host", "a"), ("accept", "b"), ("x-a", "1"), ("x-a", "2"), ("proxying", "y")],
        )

    def test_fields_of_the_connection_are_left_out(self) -> None:
        names = "Connection Keep-Alive Proxy-Authorization Proxy-Connection TE Trailer "
        names += "Transfer-Encoding Upgrade Expect"
        fields = [(name, "close") for name in names.split()]
        self.assertEqual(forwarded([*fields, ("Cookie", "c")]), [("cookie", "c")])

    def test_what_connection_names_is_left_out_wherever_it_stands(self) -> None:
        fields = [("X-Hop", "1"), ("Connection", "close, X-Hop ,"), ("x-hop", "2"), ("x-ok", "3")]
        self.assertEqual(forwarded(fields), [("x-ok", "3")])

    def test_it_can_not_name_what_is_for_the_application(self) -> None:
        fields = [("host", "a"), ("authorization", "b"), ("cookie", "c"), ("content-length", "1")]
        names = ", ".join(name for name, _ in fields)
        self.assertEqual(forwarded([*fields, ("Connection", names)]), fields)

    def test_proxy_is_left_out(self) -> None:
        self.assertEqual(forwarded([("Proxy", "http://evil")]), [])

    def test_a_name_with_an_underscore_is_left_out(self) -> None:
        self.assertEqual(forwarded([("X_Forwarded_For", "1"), ("Content_Length", "2")]), [])


class CheckedTests(SynchronousTestCase):
    """What a client gets to see of an answer."""

    def test_fields_stay_as_the_application_wrote_them(self) -> None:
        fields = [("X-b", "1"), ("Set-Cookie", "a=\xe9"), ("set-cookie", "b\tc")]
        self.assertEqual(checked(200, "OK", fields), fields)

    def test_fields_of_the_connection_are_left_out(self) -> None:
        fields = [
            ("Connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("Trailer", "x"),
            ("Proxy-Authenticate", "Basic"),
            ("X-Ok", "2"),
        ]
        self.assertEqual(checked(200, "", fields), [("X-Ok", "2")])

    def test_a_status_is_within_200_and_599(self) -> None:
        for status in (-1, 0, 100, 101, 199, 600, 1000):
            self.assertRaises(ValueError, checked, status, "OK", [])
        for status in (200, 599):
            self.assertEqual(checked(status, "", []), [])

    def test_a_reason_has_no_controls(self) -> None:
        for reason in ("O\rK", "O\nK", "\x00", "\x7f", "\u20ac", "\x1b[2J"):
            self.assertRaises(ValueError, checked, 200, reason, [])
        self.assertEqual(checked(200, "Tr\xe8s bien", []), [])

    def test_names_and_values_split_no_answer(self) -> None:
        for name in ("", "a b", "a:", "a\r\nb", "\xe9", "a\n"):
            self.assertRaises(ValueError, checked, 200, "OK", [(name, "v")])
        for value in ("a\r\nSet-Cookie: x", "a\n", "\x00", "\u0100", "\x7f"):
            self.assertRaises(ValueError, checked, 200, "OK", [("A", value)])

    def test_all_together_are_not_too_long(self) -> None:
        fields = [("A", "b" * 999)] * 65
        self.assertEqual(len(checked(200, "OK", fields)), 65)
        self.assertRaises(ValueError, checked, 200, "OK", fields * 2)

    def test_names_and_values_are_texts(self) -> None:
        fields: Any
        for fields in ([("a", 1)], [("a", b"b")], [(b"a", "b")], [(1, "b")], [([], "b")]):
            self.assertRaises(TypeError, checked, 200, "OK", fields)

    def test_space_around_a_value_goes(self) -> None:
        self.assertEqual(checked(200, "OK", [("A", " \tb c\t")]), [("A", "b c")])

    def test_one_valid_length_stays(self) -> None:
        for values in (["12"], ["12", "12"], [" 12 "]):
            fields = checked(200, "OK", [("content-length", value) for value in values])
            self.assertEqual(fields, [("Content-Length", "12")])
            self.assertEqual(content_length(fields), 12)

    def test_a_length_that_is_none_goes(self) -> None:
        for values in (["12", "13"], ["-1"], ["1, 1"], [""], ["0x1"], ["\xb2"], ["9" * 19]):
            fields = checked(200, "OK", [("Content-Length", value) for value in values])
            self.assertEqual(fields, [])
            self.assertIsNone(content_length(fields))

    def test_an_answer_without_content_has_no_length(self) -> None:
        self.assertEqual(checked(204, "", [("Content-Length", "0")]), [])
        self.assertEqual(len(checked(304, "", [("Content-Length", "7")])), 1)

    def test_head_and_some_statuses_have_no_body(self) -> None:
        self.assertTrue(is_bodiless("HEAD", 200))
        self.assertTrue(is_bodiless("GET", 204))
        self.assertTrue(is_bodiless("GET", 304))
        self.assertFalse(is_bodiless("GET", 200))

    @given(st.lists(st.tuples(LATIN, LATIN)), LATIN)
    def test_whatever_it_lets_pass_is_one_line_each(
        self, fields: list[tuple[str, str]], reason: str
    ) -> None:
        try:
            passed = checked(200, reason, fields)
        except ValueError:
            return
        text = reason + "".join(f"{name}: {value}" for name, value in passed)
        self.assertEqual(len(text.encode("latin-1").splitlines() or [b""]), 1)
        self.assertNotIn("\x00", text)
