"""Who gets in, and how it is said."""

from __future__ import annotations

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.address import IPv4Address

from tests.fake_sockets import client_frame, upgrade
from tests.sockets.harness import TEXT, NoCodec, WebSocketTestCase
from twbridge.sockets.origins import Listener
from twbridge.ws import SocketOptions


class OptionTests(WebSocketTestCase):
    """Autobahn's options, as they are in effect on a connection."""

    options = SocketOptions(frame=7_000, message=9_000)

    def test_the_effective_options(self) -> None:
        protocol = self.protocol(self.open())
        wanted = {
            "versions": [13],
            "webStatus": False,
            "utf8validateIncoming": True,
            "requireMaskedClientFrames": True,
            "maskServerFrames": False,
            "applyMask": True,
            "maxFramePayloadSize": 7_000,
            "maxMessagePayloadSize": 9_000,
            "autoFragmentSize": 0,
            "failByDrop": False,
            "echoCloseCodeReason": False,
            "openHandshakeTimeout": 0,
            "closeHandshakeTimeout": 0,
            "autoPingInterval": 0,
            "serveFlashSocketPolicy": False,
            "allowNullOrigin": False,
            "maxConnections": 0,
            "trustXForwardedFor": 0,
            "logOctets": False,
            "logFrames": False,
            "trackTimings": False,
        }
        self.assertEqual({name: getattr(protocol, name) for name in wanted}, wanted)
        self.assertEqual({name: getattr(self.factory, name) for name in wanted}, wanted)

    def test_compression_is_off(self) -> None:
        offer = "permessage-deflate; client_max_window_bits"
        answer = self.ask(upgrade(Sec_WebSocket_Extensions=offer)).take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "))
        self.assertNotIn(b"Sec-WebSocket-Extensions", answer)

    def test_whatever_is_offered_the_handshake_goes_on(self) -> None:
        for offer in ("permessage-deflate; server_max_window_bits=8", "x; y=z", "permessage-bzip2"):
            self.open(upgrade(Sec_WebSocket_Extensions=offer))


class HandshakeTests(WebSocketTestCase):
    """The opening handshake."""

    def test_no_version_of_anything_is_told(self) -> None:
        answer = self.ask().take()
        self.assertNotIn(b"Server", answer)
        self.assertNotIn(b"utobahn", answer)

    def test_a_session_is_opened(self) -> None:
        self.open()
        self.assertEqual(self.session.events, ["opened"])
        self.assertEqual(self.session.peer.address, "192.0.2.1")
        self.assertEqual(self.session.peer.user, None)

    def test_frames_in_the_same_read_are_received(self) -> None:
        self.ask(upgrade() + client_frame(TEXT, b"hello"))
        self.assertEqual(self.session.messages, [(b"hello", False)])

    def test_a_byte_that_would_begin_a_new_line_for_autobahn_is_400(self) -> None:
        # Of "х" in UTF-8, in a cookie or the query; this one would be a header field more.
        self.assertEqual(self.status(self.ask(upgrade("/ws", "Cookie: c=\xd1\x85"))), 400)
        self.assertEqual(self.status(self.ask(upgrade("/ws?c=\xd1\x85"))), 400)
        self.assertEqual(self.status(self.ask(upgrade("/ws", "X: a\x85Sec-WebSocket-Key: b"))), 400)
        self.assertEqual(self.sessions, [])
        self.open(upgrade("/ws", "Cookie: c=\xd1\x84"))

    def test_an_unknown_path_is_404(self) -> None:
        self.assertEqual(self.status(self.ask(upgrade("/elsewhere"))), 404)
        self.assertEqual(self.status(self.ask(upgrade("/"))), 404)

    def test_a_query_is_no_part_of_the_path(self) -> None:
        self.open(upgrade("/ws?any=1"))

    def test_other_versions_are_426_with_ours(self) -> None:
        for version in ("8", "12", "14", "x", None):
            socket = self.ask(upgrade(Sec_WebSocket_Version=version))
            self.assertEqual(self.status(socket), 426)
            self.assertIn(b"\r\nSec-WebSocket-Version: 13\r\n", socket.received)

    def test_a_bad_key_is_400_and_not_repeated(self) -> None:
        for key in (None, "short", "<script>alert(1)</scr=="):
            socket = self.ask(upgrade(Sec_WebSocket_Key=key))
            self.assertEqual(self.status(socket), 400)
            self.assertNotIn(b"script", socket.received)
            self.assertIn(b"This is not a WebSocket handshake.", socket.received)

    def test_without_connection_upgrade_it_is_400(self) -> None:
        self.assertEqual(self.status(self.ask(upgrade(Connection="keep-alive"))), 400)

    def test_other_methods_are_405(self) -> None:
        request = upgrade().replace(b"GET", b"POST", 1)
        self.assertEqual(self.status(self.ask(request)), 405)

    def test_http_1_0_is_505(self) -> None:
        request = upgrade().replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        self.assertEqual(self.status(self.ask(request)), 505)

    def test_a_missing_or_second_host_is_400(self) -> None:
        self.assertEqual(self.status(self.ask(upgrade(Host=None))), 400)
        self.assertEqual(self.status(self.ask(upgrade("/ws", "Host: b"))), 400)

    def test_a_refused_socket_is_counted_no_more(self) -> None:
        self.status(self.ask(upgrade(Sec_WebSocket_Key=None)))
        self.assertEqual(self.front.census.total, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_error_in_autobahns_hook_shows_nothing(self) -> None:
        request = upgrade(Sec_WebSocket_Protocol="v1.twbridge.json, v1.twbridge.json")
        socket = self.ask(request)
        self.assertEqual(self.status(socket), 400)
        self.assertNotIn(str(ConnectionDeny).encode(), socket.received)


class ClientTests(WebSocketTestCase):
    """The name of a client that outlives its connections."""

    uuid = "0b0f3f8e-7a4c-4a6e-9a55-7d0b7b1c9e01"

    def test_it_is_the_peers_in_lower_case(self) -> None:
        for query in (
            f"client={self.uuid}",
            f"client={self.uuid.upper()}",
            f"access_token=secret&client={self.uuid}&x",
            f"client={self.uuid.replace('-', '%2D')}",
        ):
            self.open(upgrade(f"/ws?{query}"))
            self.assertEqual(self.session.peer.client, self.uuid, query)

    def test_without_one_there_is_none(self) -> None:
        for path in ("/ws", "/ws?", "/ws?Client=1&clients=2"):
            self.open(upgrade(path))
            self.assertIsNone(self.session.peer.client)

    def test_anything_else_is_400_and_not_repeated(self) -> None:
        for value in ("", "hunter2", self.uuid[:-1], self.uuid + "0", "{" + self.uuid + "}", "%00"):
            socket = self.ask(upgrade(f"/ws?client={value}"))
            self.assertEqual(self.status(socket), 400, value)
            self.assertIn(b"The parameter client must be a UUID.", socket.received)
            self.assertNotIn(b"hunter2", socket.received)
        self.assertEqual(self.sessions, [])

    def test_two_are_400(self) -> None:
        socket = self.ask(upgrade(f"/ws?client={self.uuid}&client={self.uuid}"))
        self.assertEqual(self.status(socket), 400)
        self.assertIn(b"The parameter client must not be repeated.", socket.received)


class SubprotocolTests(WebSocketTestCase):
    """Which dialect is spoken."""

    def test_none_asked_for_is_the_nameless_one(self) -> None:
        self.assertNotIn(b"Sec-WebSocket-Protocol", self.ask().take())

    def test_a_known_one_is_chosen(self) -> None:
        answer = self.ask(upgrade(Sec_WebSocket_Protocol="v9.x, v1.twbridge.json")).take()
        self.assertIn(b"\r\nSec-WebSocket-Protocol: v1.twbridge.json\r\n", answer)

    def spoken(self) -> str | None:
        codec = self.session.codec
        assert isinstance(codec, NoCodec)
        return codec.subprotocol

    def test_a_route_says_what_is_spoken_where_none_is_asked_for(self) -> None:
        for path, name in (("/ws", None), ("/json", "v1.twbridge.json"), ("/stomp", "v12.stomp")):
            answer = self.ask(upgrade(path)).take()
            # A client that asked for nothing would refuse an answer to that.
            self.assertNotIn(b"Sec-WebSocket-Protocol", answer)
            self.assertEqual(self.spoken(), name)

    def test_whatever_the_route_what_is_asked_for_is_spoken(self) -> None:
        for path in ("/ws", "/json", "/stomp"):
            for name in ("v1.twbridge.json", "v12.stomp"):
                answer = self.ask(upgrade(path, Sec_WebSocket_Protocol=name)).take()
                self.assertIn(f"\r\nSec-WebSocket-Protocol: {name}\r\n".encode(), answer)
                self.assertEqual(self.spoken(), name)

    def test_only_unknown_ones_are_400(self) -> None:
        socket = self.ask(upgrade(Sec_WebSocket_Protocol="mqtt"))
        self.assertEqual(self.status(socket), 400)
        self.assertIn(b"v1.twbridge.json", socket.received)


class OriginTests(WebSocketTestCase):
    """Same origin by default."""

    def test_a_page_of_ours_gets_in(self) -> None:
        self.open(upgrade(Origin="http://chat.example"))

    def test_no_browser_gets_in(self) -> None:
        self.open(upgrade())

    def test_other_pages_and_null_are_403(self) -> None:
        for origin in ("http://evil.example", "null", "file:///tmp/page.html", "nonsense"):
            self.assertEqual(self.status(self.ask(upgrade(Origin=origin))), 403, origin)
        self.assertEqual(self.sessions, [])

    def test_two_origins_are_400(self) -> None:
        socket = self.ask(upgrade("/ws", "Origin: http://chat.example", Origin="http://a.example"))
        self.assertEqual(self.status(socket), 400)


class AllowListTests(WebSocketTestCase):
    """An allow-list of a listener."""

    listener = Listener(origins=("https://app.example",), proxies=("10.0.0.0/8",), loopback=True)

    def test_who_is_on_it_gets_in(self) -> None:
        self.open(upgrade(Origin="https://app.example"))

    def test_who_is_not_is_403(self) -> None:
        for origin in ("http://chat.example", "https://app.example.evil.example", "null"):
            self.assertEqual(self.status(self.ask(upgrade(Origin=origin))), 403, origin)

    def test_a_client_behind_a_proxy_is_not_local(self) -> None:
        here = {"Host": "localhost:8080"}
        self.ask(upgrade(**here), "127.0.0.1")
        self.assertTrue(self.session.peer.loopback)
        self.ask(upgrade(X_Forwarded_For="198.51.100.7", **here), "127.0.0.1")
        self.assertFalse(self.session.peer.loopback)
        self.ask(upgrade(X_Forwarded_For="198.51.100.7", **here), "10.0.0.1")
        self.assertFalse(self.session.peer.loopback)
        self.assertEqual(self.session.peer.address, "198.51.100.7")

    def test_only_by_a_name_of_this_machine_is_a_client_local(self) -> None:
        """DNS rebinding: a stranger's page that calls us by the stranger's name."""
        for host in ("localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:8080", "[::1]:8080"):
            self.ask(upgrade(Host=host), "127.0.0.1")
            self.assertTrue(self.session.peer.loopback, host)
        for host in ("evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io"):
            self.ask(upgrade(Host=host), "127.0.0.1")
            self.assertFalse(self.session.peer.loopback, host)

    def test_the_address_is_a_string(self) -> None:
        self.ask(upgrade())
        self.assertNotIsInstance(self.session.peer.address, IPv4Address)
