"""Long polling: requests that wait for a channel, of twisted.web and of Klein."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.web import server

from tests.polling_case import Late, News, Notes, PollsCase
from tests.web.harness import request
from twbridge import polling
from twbridge.polled import Channel, Poll
from twbridge.polling import LINGER
from twbridge.rpc.messages import PUBSUB


def alive() -> tuple[int, int]:
    """How many polls and channels there are in memory."""
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    return kinds.count(Poll), kinds.count(Channel)


class AnswerTests(PollsCase):
    """What a request is answered with."""

    def test_a_publish_completes_it(self) -> None:
        connection = self.ask()
        self.assertTrue(connection.waits)
        self.publish({"a": [1]})
        found = self.told(connection)
        self.assertEqual((found.json, len(self.polls)), ({"a": [1]}, 0))
        self.assertEqual(found.fields["twbridge-number"], "00000001-1")
        self.assertEqual(found.fields["twbridge-channel"], "news")
        self.assertEqual(found.fields["cache-control"], "no-store")
        self.assertNotIn("twbridge-missed", found.fields)

    def test_one_publish_completes_all(self) -> None:
        connections = [self.ask() for _ in range(50)]
        self.assertEqual((len(self.polls), self.polls.channels), (50, 1))
        self.publish("x")
        self.assertEqual({self.told(each).body for each in connections}, {b"x"})

    def test_bodies_are_as_they_were_published(self) -> None:
        for body, content_type in (
            ("t\xe4xt", "text/plain; charset=utf-8"),
            (b"\x00\xff", "application/octet-stream"),
            (None, "application/json"),
        ):
            connection = self.ask()
            self.publish(body)
            self.assertEqual(self.told(connection).fields["content-type"], content_type)

    def test_those_that_were_compressed_on_their_way_are_as_before(self) -> None:
        connection = self.ask()
        self.publish("long " * 20_000)
        found = self.told(connection)
        self.assertEqual(found.body, b"long " * 20_000)
        self.assertNotIn("content-encoding", found.fields)

    def test_no_publisher_writes_into_the_header_or_has_scripts_run(self) -> None:
        connection = self.ask()
        properties = {"content_type": "text/html\r\nSet-Cookie: a=b"}
        self.result(self.speaker.link.publish(PUBSUB, "news", b"<script>", properties))
        found = self.told(connection)
        self.assertEqual(found.fields["content-type"], "application/octet-stream")
        self.assertIn("sandbox", found.fields["content-security-policy"])
        self.assertEqual(found.fields["x-content-type-options"], "nosniff")
        self.assertNotIn("set-cookie", found.fields)

    def test_at_its_timeout_it_is_204(self) -> None:
        connection = self.ask()
        self.network.advance(24.5)
        self.assertTrue(connection.waits)
        self.network.advance(1)
        found = self.told(connection, 204)
        self.assertEqual((found.body, found.fields["twbridge-number"]), (b"", "00000001-0"))
        self.assertNotIn("content-type", found.fields)
        self.assertEqual(len(self.polls), 0)

    def test_connections_live_on(self) -> None:
        connection = self.ask()
        self.publish(1)
        self.told(connection)
        connection.protocol.dataReceived(request("GET", "/"))
        self.publish(2)
        self.assertEqual(self.told(connection).json, 2)

    def test_patterns_say_which_channel_it_was(self) -> None:
        connection = self.ask(site=self.serve(News(self.polls, "news.#")))
        self.publish(1, channel="old")
        self.publish(2, channel="news.s\xfcd")
        found = self.told(connection)
        self.assertEqual((found.json, found.fields["twbridge-channel"]), (2, "news.s%C3%BCd"))

    def test_a_name_that_none_can_have_is_400_with_why(self) -> None:
        for name, why in (
            ("", b"The name of a channel has 1 to 255 bytes, and this one 0.\n"),
            ("x" * 300, b"The name of a channel has 1 to 255 bytes, and this one 300.\n"),
            ("a\x00b", b"The name of a channel has no control characters.\n"),
        ):
            found = self.told(self.ask(site=self.serve(News(self.polls, name))), 400)
            self.assertEqual(found.body, why)
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))

    def test_a_timeout_that_is_none_is_an_error_of_the_application(self) -> None:
        for timeout in (0, -1, 3601, float("nan"), float("inf")):
            self.assertRaises(ValueError, self.polls.wait, None, "news", timeout)
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))

    def test_an_after_that_is_none_is_400(self) -> None:
        for after in ("1", "-", "00000001", "00000001-1-1", "zzzzzzzz-1", "%ff"):
            self.assertIn(b"Twbridge-Number", self.told(self.ask(after), 400).body)
        self.assertEqual(self.polls.channels, 0)

    def test_scripts_of_other_origins_may_read_its_header(self) -> None:
        expected = "Twbridge-Number, Twbridge-Missed, Twbridge-Channel, Retry-After"
        connection = self.ask()
        self.publish(1)
        exposed = [
            self.told(connection),
            self.told(self.ask("1"), 400),
            self.told(self.ask(""), 204),
        ]
        self.result(self.polls.stop())
        exposed.append(self.told(self.ask(), 503))
        for each in exposed:
            self.assertEqual(each.fields["access-control-expose-headers"], expected)

    def test_what_the_application_lets_them_read_stays(self) -> None:
        class Exposing(News):
            def render_GET(self, request: Any) -> int:
                request.setHeader("Access-Control-Expose-Headers", "X-Mine")
                return super().render_GET(request)

        connection = self.ask("", site=self.serve(Exposing(self.polls)))
        lines = connection.transport.value().lower().split(b"\r\n")
        fields = [each for each in lines if each.startswith(b"access-control-expose-headers: ")]
        self.assertIn(b"x-mine", fields[0])
        self.assertIn(b"twbridge-number", fields[1])

    def test_it_says_how_long_a_body_is(self) -> None:
        for body in ("x", b""):
            connection = self.ask()
            self.publish(body)
            found = self.told(connection)
            self.assertEqual(found.fields["content-length"], str(len(body)))

    def test_past_the_limits_it_is_503(self) -> None:
        self.patch(polling, "MOST_POLLS", 2)
        self.ask()
        self.ask()
        self.assertEqual(self.told(self.ask(), 503).fields["retry-after"], "5")
        self.patch(polling, "MOST_POLLS", 9)
        self.patch(polling, "MOST_CHANNELS", 1)
        self.told(self.ask(site=self.serve(News(self.polls, "other"))), 503)
        self.assertTrue(self.ask().waits)


class KleinTests(PollsCase):
    """Routes of Klein."""

    def setUp(self) -> None:
        super().setUp()
        self.site = self.serve(Notes(self.polls).app.resource())

    def test_routes_return_what_wait_gives(self) -> None:
        for target in ("/plain", "/later"):
            connection = self.get(target, self.site)
            self.assertTrue(connection.waits)
            self.publish({"a": 1})
            found = self.told(connection)
            self.assertEqual(found.json, {"a": 1})
            self.assertIn("twbridge-number", found.fields)

    def test_routes_may_change_the_body(self) -> None:
        connection = self.get("/wrapped", self.site)
        self.publish({"a": 1})
        self.assertEqual(self.told(connection).json, {"news": {"a": 1}})
        connection.protocol.dataReceived(request("GET", "/wrapped"))
        self.publish(2)
        self.assertEqual(self.told(connection).json, {"news": 2})

    def test_204_at_the_timeout(self) -> None:
        connection = self.get("/later", self.site)
        self.network.advance(5)
        self.assertEqual(self.told(connection, 204).body, b"")

    def test_clients_that_leave_are_dropped(self) -> None:
        for target in ("/plain", "/later"):
            self.get(target, self.site).leave()
            self.assertEqual(len(self.polls), 0)
        self.assertEqual(self.flushLoggedErrors(), [])


class GoneTests(PollsCase):
    """Clients that leave."""

    def many(self, target: str, site: server.Site) -> list[weakref.ref[Any]]:
        """200 that wait, and leave; what is left of them."""
        connections = [self.get(target, site) for _ in range(200)]
        self.connections.clear()
        self.assertEqual(len(self.polls), 200)
        (channel,) = self.polls._channels.values()
        found: list[weakref.ref[Any]] = []
        for connection in connections:
            found += [
                weakref.ref(connection.protocol),
                weakref.ref(connection.protocol._channel.requests[0]),
            ]
        found += [weakref.ref(poll.answer) for poll in channel.polls]
        for connection in connections:
            connection.leave()
        return found

    def test_200_that_leave_are_gone_from_memory(self) -> None:
        polls, channels = alive()
        for target, site in (
            ("/", self.site),
            ("/plain", self.serve(Notes(self.polls).app.resource())),
            ("/later", self.serve(Notes(self.polls).app.resource())),
        ):
            left = self.many(target, site)
            self.assertEqual(len(left), 600)
            self.assertEqual(len(self.polls), 0)
            self.assertEqual(alive(), (polls, channels + 1))
            self.assertEqual([each() for each in left if each() is not None], [], target)
        # The timer of the channel that lingers, and the caller's own.
        self.network.advance(LINGER + 1)
        self.assertEqual(alive(), (polls, channels))

    def test_one_that_has_left_before_it_could_wait_does_not_wait(self) -> None:
        for target, site in (
            ("/", self.serve(Late(self.polls))),
            ("/stubborn", self.serve(Notes(self.polls).app.resource())),
        ):
            self.get(target, site).leave()
            self.network.advance(1)
            self.assertEqual((len(self.polls), self.polls.channels), (0, 0))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_is_published_then_goes_to_those_who_stay(self) -> None:
        leaving, staying = self.ask(), self.ask()
        leaving.leave()
        self.publish(1)
        self.assertEqual(self.told(staying).json, 1)
        self.assertTrue(leaving.waits)

    def test_the_broker_has_nothing_left_of_a_channel_that_nobody_polls(self) -> None:
        self.ask().leave()
        exchange = self.network.broker.vhost.exchange(PUBSUB)
        self.assertTrue(list(exchange.match("news", {})))
        self.network.advance(LINGER + 1)
        self.assertFalse(list(exchange.match("news", {})))
