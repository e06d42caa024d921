"""Proxies and origins."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import SettingsError
from twbridge.sockets.heads import Head, Refusal
from twbridge.sockets.origins import (
    Client,
    Listener,
    OriginRule,
    Proxies,
    address_of,
    neighbourhood,
    networks,
)


def head(**fields: str | list[str]) -> Head:
    """A head with these fields, names with underscores."""
    values = {
        name.replace("_", "-"): [value] if isinstance(value, str) else value
        for name, value in fields.items()
    }
    return Head("GET", "/ws", (1, 1), values)


class ProxiesTests(SynchronousTestCase):
    """Who the client is."""

    def client(self, peer: str, secure: bool = False, **fields: str | list[str]) -> Client:
        proxies = Proxies(networks(("10.0.0.0/8", "::1")))
        return proxies.client(head(**fields), peer, secure=secure)

    def test_without_proxies_the_peer_is_the_client(self) -> None:
        self.assertEqual(self.client("192.0.2.1", host="a"), Client("192.0.2.1", False, False, "a"))

    def test_an_untrusted_peer_is_not_believed(self) -> None:
        client = self.client(
            "192.0.2.1",
            host="a",
            x_forwarded_for="198.51.100.7",
            x_forwarded_proto="https",
            x_forwarded_host="b",
        )
        self.assertEqual(client, Client("192.0.2.1", True, False, "a"))

    def test_the_last_untrusted_address_is_the_clients(self) -> None:
        client = self.client("10.0.0.1", x_forwarded_for=["203.0.113.9, 198.51.100.7", "10.1.1.1"])
        self.assertEqual(client.address, "198.51.100.7")

    def test_a_chain_of_proxies_alone_ends_at_its_first(self) -> None:
        self.assertEqual(
            self.client("10.0.0.1", x_forwarded_for="10.0.0.3, 10.0.0.2").address, "10.0.0.3"
        )

    def test_a_word_in_the_chain_ends_it(self) -> None:
        self.assertEqual(
            self.client("10.0.0.1", x_forwarded_for="1.2.3.4, unknown, 10.0.0.2").address,
            "10.0.0.2",
        )

    def test_a_proxy_without_the_header_is_itself(self) -> None:
        self.assertEqual(self.client("10.0.0.1").address, "10.0.0.1")

    def test_scheme_and_host_are_believed(self) -> None:
        client = self.client(
            "::1", host="inner:80", x_forwarded_proto="https", x_forwarded_host="chat.example"
        )
        self.assertEqual((client.secure, client.host), (True, "chat.example"))

    def test_a_unix_socket_is_trusted_where_a_proxy_is(self) -> None:
        self.assertEqual(self.client("unix", x_forwarded_for="1.2.3.4").address, "1.2.3.4")
        alone = Proxies(()).client(head(x_forwarded_for="1.2.3.4"), "unix", secure=False)
        self.assertEqual(alone.address, "unix")

    @given(st.text(max_size=40))
    def test_any_chain_gives_an_address(self, chain: str) -> None:
        address = self.client("10.0.0.1", x_forwarded_for=chain).address
        self.assertIsNotNone(address_of(address))


class AddressTests(SynchronousTestCase):
    """Addresses and what they are counted by."""

    def test_ports_and_brackets_go(self) -> None:
        for text, address in (
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:80", "1.2.3.4"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
        ):
            self.assertEqual(str(address_of(text)), address, text)

    def test_what_is_no_address_is_none(self) -> None:
        for text in ("", "unix", "host:80", "1.2.3", "[::1", "1.2.3.4:x"):
            self.assertIsNone(address_of(text), text)

    def test_ipv6_is_counted_by_its_64(self) -> None:
        self.assertEqual(neighbourhood("2001:db8::1"), neighbourhood("2001:db8::ffff:1"))
        self.assertNotEqual(neighbourhood("2001:db8::1"), neighbourhood("2001:db8:0:1::1"))
        self.assertEqual(neighbourhood("::ffff:1.2.3.4"), "1.2.3.4")
        self.assertEqual(neighbourhood("unix"), "unix")


class OriginRuleTests(SynchronousTestCase):
    """Which pages may connect."""

    def allowed(
        self,
        origin: str | None,
        *origins: str,
        host: str = "chat.example:8080",
        secure: bool = False,
    ) -> bool:
        client = Client("192.0.2.1", False, secure, host)
        try:
            OriginRule(origins).check(origin, client)
        except Refusal as refusal:
            self.assertEqual(refusal.status, 403)
            return False
        return True

    def test_the_same_origin_is_allowed_by_default(self) -> None:
        self.assertTrue(self.allowed("http://chat.example:8080"))
        self.assertTrue(self.allowed("http://CHAT.example:8080"))
        self.assertTrue(self.allowed("http://chat.example", host="chat.example"))
        self.assertTrue(self.allowed("http://chat.example", host="chat.example:80"))
        self.assertTrue(self.allowed("http://[::1]:8080", host="[::1]:8080"))
        self.assertTrue(self.allowed("https://chat.example", host="chat.example", secure=True))

    def test_other_origins_are_refused_by_default(self) -> None:
        for origin in (
            "http://evil.example:8080",
            "http://chat.example",
            "http://chat.example:8081",
            "http://chat.example.evil.example:8080",
            "http://evil.example:8080@chat.example:8080",
            "ftp://chat.example:8080",
            "file://",
            "chat.example:8080",
            "",
            "http://chat.example:x",
        ):
            self.assertFalse(self.allowed(origin), origin)

    def test_null_is_refused_whatever_the_list(self) -> None:
        self.assertFalse(self.allowed("null"))
        self.assertFalse(self.allowed("null", "*"))

    def test_no_origin_is_no_browser(self) -> None:
        self.assertTrue(self.allowed(None))
        self.assertTrue(self.allowed(None, "https://app.example"))

    def test_a_page_of_https_behind_a_proxy_that_does_not_tell(self) -> None:
        self.assertTrue(self.allowed("https://chat.example", host="chat.example"))

    def test_a_page_of_http_is_not_the_same_as_https(self) -> None:
        self.assertFalse(
            self.allowed("http://chat.example:443", host="chat.example:443", secure=True)
        )

    def test_the_list_replaces_the_default(self) -> None:
        self.assertTrue(self.allowed("https://app.example", "https://app.example"))
        self.assertTrue(self.allowed("https://app.example:443", "https://app.example"))
        self.assertFalse(self.allowed("http://app.example", "https://app.example"))
        self.assertFalse(self.allowed("https://app.example:8443", "https://app.example"))
        self.assertFalse(self.allowed("http://chat.example:8080", "https://app.example"))
        self.assertTrue(self.allowed("http://chat.example:8080", "https://app.example", "self"))

    def test_a_star_stands_for_everything_below_a_domain(self) -> None:
        self.assertTrue(self.allowed("https://a.b.app.example", "https://*.app.example"))
        self.assertFalse(self.allowed("https://app.example", "https://*.app.example"))
        self.assertFalse(self.allowed("https://evilapp.example", "https://*.app.example"))
        self.assertFalse(self.allowed("https://a.appXexample", "https://*.app.example"))

    def test_a_star_alone_allows_all_pages(self) -> None:
        self.assertTrue(self.allowed("https://anything.example:1", "*"))

    def test_a_host_that_is_missing_matches_nothing(self) -> None:
        self.assertFalse(self.allowed("http://chat.example", host=""))

    @given(st.text(max_size=40))
    def test_any_origin_is_allowed_or_refused(self, origin: str) -> None:
        self.allowed(origin, "self", "https://*.app.example")


class ListenerTests(SynchronousTestCase):
    """The settings of a listener."""

    def test_mistakes_are_told(self) -> None:
        mistakes: list[dict[str, Any]] = [
            {"origins": ("app.example",)},
            {"origins": ("https://app.example/path",)},
            {"origins": ("null",)},
            {"proxies": ("localhost",)},
            {"proxies": ("10.0.0.0/33",)},
        ]
        for mistake in mistakes:
            with self.assertRaises(SettingsError) as caught:
                Listener(**mistake)
            self.assertIn(f"listen.{next(iter(mistake))}", str(caught.exception))
