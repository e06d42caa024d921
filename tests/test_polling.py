"""Long polling: requests that wait for a channel, of twisted.web and of Klein."""

from __future__ import annotations

import contextlib
import gc
import gzip
import weakref
from collections.abc import Iterator
from typing import Any

from klein import Klein
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource

from tests.rpc.cases import CallerCase
from tests.web.harness import Answer, answers, request
from twbridge import polling
from twbridge.errors import EncodeError
from twbridge.polled import Channel, Poll
from twbridge.polling import KEPT, LINGER, Polls
from twbridge.rpc.messages import PUBSUB


def alive() -> tuple[int, int]:
    """How many polls and channels there are in memory."""
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    return kinds.count(Poll), kinds.count(Channel)


class News(Resource):
    """A resource of twisted.web."""

    isLeaf = True

    def __init__(self, polls: Polls, channel: str = "news") -> None:
        super().__init__()
        self.polls = polls
        self.channel = channel

    def render_GET(self, request: IRequest) -> int:
        return self.polls.render(request, self.channel, timeout=25)


class Late(News):
    """One that does something else before."""

    def render_GET(self, request: IRequest) -> int:
        clock: Any = self.polls._clock
        clock.callLater(1, super().render_GET, request)
        return server.NOT_DONE_YET


class Notes:
    """Routes of Klein."""

    app = Klein()

    def __init__(self, polls: Polls) -> None:
        self.polls = polls

    @app.route("/plain")
    def plain(self, request: IRequest) -> Deferred[bytes]:
        return self.polls.wait(request, "news")

    @app.route("/stubborn")
    async def stubborn(self, request: IRequest) -> bytes:
        with contextlib.suppress(CancelledError):
            await Deferred()
        return await self.polls.wait(request, "news")

    @app.route("/later")
    async def later(self, request: IRequest) -> bytes:
        return await self.polls.wait(request, "news", timeout=5)


class Connection:
    """One of a browser."""

    def __init__(self, site: server.Site) -> None:
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50_000))
        self.protocol: Any = site.buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def take(self) -> Answer:
        """The only answer since the last look."""
        data = self.transport.value()
        self.transport.clear()
        (found,) = answers(data)
        return found

    @property
    def waits(self) -> bool:
        """Whether there is no answer."""
        return not self.transport.value()

    def leave(self) -> None:
        """Be gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class PollsCase(CallerCase):
    """A site before the embedded broker; no test sleeps."""

    def setUp(self) -> None:
        super().setUp()
        self.speaker = self.caller()
        self.listener = self.caller()
        tokens: Iterator[str] = (f"{number:08x}" for number in range(1, 1000))
        self.polls = Polls(self.listener, reactor=self.clock, token=tokens.__next__)
        self.connections: list[Connection] = []
        self.site = self.serve(News(self.polls))
        self.addCleanup(self._leave)

    def _leave(self) -> None:
        for each in self.connections:
            each.leave()
        self.assertEqual(len(self.polls), 0)
        self.result(self.polls.stop())
        self.assertEqual(self.polls.channels, 0)

    def serve(self, resource: Resource) -> server.Site:
        return server.Site(resource, reactor=self.clock, timeout=None)

    def ask(self, after: str | None = None, *, site: server.Site | None = None) -> Connection:
        """A request that was sent."""
        target = "/" if after is None else f"/?after={after}"
        return self.get(target, site or self.site)

    def get(self, target: str, site: server.Site) -> Connection:
        connection = Connection(site)
        self.connections.append(connection)
        connection.protocol.dataReceived(request("GET", target))
        self.network.pump()
        return connection

    def publish(self, *bodies: Any, channel: str = "news") -> None:
        for body in bodies:
            self.result(self.speaker.publish(channel, body))

    def told(self, connection: Connection, status: int = 200) -> Answer:
        found = connection.take()
        self.assertEqual(found.status, status, found.body)
        return found


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

    def test_a_name_that_none_can_have_is_an_error_of_the_application(self) -> None:
        self.assertRaises(EncodeError, self.polls.wait, None, "")

    def test_so_is_a_timeout_that_is_none_and_nothing_of_it_stays(self) -> None:
        for timeout in (0, -1, 3601, float("nan"), float("inf")):
            self.assertRaises(ValueError, self.polls.wait, None, "news", timeout)
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))

    def test_an_after_that_is_none_is_400(self) -> None:
        for after in ("", "1", "00000001", "00000001-1-1", "zzzzzzzz-1", "%ff"):
            self.assertIn(b"Twbridge-Number", self.told(self.ask(after), 400).body)
        self.assertEqual(self.polls.channels, 0)

    def test_past_the_limits_it_is_503(self) -> None:
        self.patch(polling, "MOST_POLLS", 2)
        self.ask()
        self.ask()
        self.assertEqual(self.told(self.ask(), 503).fields["retry-after"], "5")
        self.patch(polling, "MOST_POLLS", 9)
        self.patch(polling, "MOST_CHANNELS", 1)
        self.told(self.ask(site=self.serve(News(self.polls, "other"))), 503)
        self.assertTrue(self.ask().waits)


class BetweenTests(PollsCase):
    """Nothing is lost in silence between two requests."""

    def number(self, connection: Connection, status: int = 200) -> str:
        return self.told(connection, status).fields["twbridge-number"]

    def test_what_came_meanwhile_is_told_one_by_one(self) -> None:
        connection = self.ask()
        self.publish(1)
        number = self.number(connection)
        self.publish(2, 3)
        for expected in (2, 3):
            found = self.told(self.ask(number))
            self.assertEqual(found.json, expected)
            self.assertNotIn("twbridge-missed", found.fields)
            number = found.fields["twbridge-number"]
        self.assertTrue(self.ask(number).waits)

    def test_an_answer_that_was_lost_is_told_again(self) -> None:
        connection = self.ask()
        self.network.advance(25)
        number = self.number(connection, 204)
        self.publish(1)
        for _ in range(2):
            self.assertEqual(self.told(self.ask(number)).json, 1)

    def test_without_a_number_it_is_what_is_published_from_now_on(self) -> None:
        self.ask()
        self.publish(1)
        connection = self.ask()
        self.assertTrue(connection.waits)
        self.publish(2)
        self.assertEqual(self.told(connection).json, 2)

    def test_what_was_too_much_to_keep_is_counted(self) -> None:
        connection = self.ask()
        self.publish(0)
        number = self.number(connection)
        self.publish(*range(1, KEPT + 4))
        found = self.told(self.ask(number))
        self.assertEqual((found.json, found.fields["twbridge-missed"]), (4, "3"))

    def test_the_newest_is_kept_whatever_its_size(self) -> None:
        connection = self.ask()
        self.publish(0)
        number = self.number(connection)
        self.publish(b"\x00" * 600_000, b"\x01" * 600_000)
        found = self.told(self.ask(number))
        self.assertEqual((found.body[:1], found.fields["twbridge-missed"]), (b"\x01", "1"))
        self.publish(b"\x02" * 2_000_000)
        found = self.told(self.ask(number))
        self.assertEqual((found.body[:1], found.fields["twbridge-missed"]), (b"\x02", "2"))

    def test_a_channel_is_listened_to_for_a_minute_more(self) -> None:
        connection = self.ask()
        self.publish(1)
        number = self.number(connection)
        self.network.advance(LINGER - 1)
        self.publish(2)
        connection = self.ask(number)
        self.assertEqual(self.told(connection).json, 2)
        self.ask(site=self.serve(News(self.polls, "other"))).leave()
        self.network.advance(LINGER + 1)
        self.assertEqual(self.polls.channels, 0)
        connection = self.ask(number)
        self.publish(3)
        found = self.told(connection)
        self.assertEqual((found.json, found.fields["twbridge-missed"]), (3, "unknown"))
        self.assertEqual(found.fields["twbridge-number"], "00000003-1")

    def test_with_a_number_of_another_process_or_time_it_goes_on_from_now(self) -> None:
        self.ask()
        self.publish(1, 2)
        for number in ("000000ff-7", "00000001-7"):
            connection = self.ask(number)
            self.assertTrue(connection.waits)
            self.publish(3)
            found = self.told(connection)
            self.assertEqual((found.json, found.fields["twbridge-missed"]), (3, "unknown"))

    def test_processes_that_take_turns_tell_no_message_twice(self) -> None:
        other = Polls(self.caller(), reactor=self.clock, token=lambda: "000000ff")
        sites = self.site, self.serve(News(other))
        number: str | None = None
        told: list[Any] = []
        for turn in range(6):
            connection = self.ask(number, site=sites[turn % 2])
            self.assertTrue(connection.waits)
            self.publish(turn)
            found = self.told(connection)
            self.assertEqual(found.fields.get("twbridge-missed"), "unknown" if turn else None)
            told.append(found.json)
            number = found.fields["twbridge-number"]
        self.assertEqual(told, list(range(6)))
        self.result(other.stop())

    def test_that_is_told_at_the_timeout_too_and_once(self) -> None:
        connection = self.ask("000000ff-7")
        self.network.advance(25)
        found = self.told(connection, 204)
        self.assertEqual(found.fields["twbridge-missed"], "unknown")
        self.publish(1)
        found = self.told(self.ask(found.fields["twbridge-number"]))
        self.assertEqual(found.json, 1)
        self.assertNotIn("twbridge-missed", found.fields)

    def away(self) -> None:
        """The listener's link is away for a while, and the speaker's is not."""
        self.result(self.listener.link.stop())
        self.publish("missed")
        self.listener.link.start()
        self.network.advance(1)

    def test_what_was_published_while_the_link_was_away_is_told(self) -> None:
        waiting = self.ask()
        self.away()
        self.assertTrue(waiting.waits)
        self.publish(1)
        found = self.told(waiting)
        self.assertEqual((found.json, found.fields["twbridge-missed"]), (1, "unknown"))
        self.publish(2)
        found = self.told(self.ask(found.fields["twbridge-number"]))
        self.assertEqual(found.json, 2)
        self.assertNotIn("twbridge-missed", found.fields)

    def test_also_when_the_message_behind_is_not_kept_any_more(self) -> None:
        connection = self.ask()
        self.publish(0)
        number = self.number(connection)
        self.away()
        self.publish(*range(KEPT + 5))
        self.assertEqual(self.told(self.ask(number)).fields["twbridge-missed"], "unknown")

    def test_what_can_not_be_read_is_told_with_the_next(self) -> None:
        connection = self.ask()
        properties = {"content_type": "text/plain", "content_encoding": "gzip"}
        for data in (b"no", gzip.compress(b"yes")):
            self.result(self.speaker.link.publish(PUBSUB, "news", data, properties))
        found = self.told(connection)
        self.assertEqual((found.body, found.fields["twbridge-missed"]), (b"yes", "unknown"))


class AwayTests(PollsCase):
    """The broker is away."""

    def test_it_is_503_when_the_link_is_not_up_in_time(self) -> None:
        self.result(self.listener.link.stop())
        connection = self.ask()
        self.network.advance(9)
        self.assertTrue(connection.waits)
        self.network.advance(2)
        found = self.told(connection, 503)
        self.assertEqual(found.fields["retry-after"], "5")
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))
        self.listener.link.start()
        self.network.advance(2)
        connection = self.ask()
        self.publish(1)
        self.assertEqual(self.told(connection).json, 1)

    def test_and_at_the_timeout(self) -> None:
        self.result(self.listener.link.stop())
        connection = self.get("/later", self.serve(Notes(self.polls).app.resource()))
        self.network.advance(5)
        self.told(connection, 503)

    def test_it_waits_for_a_link_that_comes_in_time(self) -> None:
        self.result(self.listener.link.stop())
        connection = self.ask()
        self.network.advance(5)
        self.listener.link.start()
        self.network.advance(1)
        self.publish(1)
        self.assertEqual(self.told(connection).json, 1)

    def test_a_caller_that_was_not_started_is_503_at_once(self) -> None:
        polls = Polls(self.caller(started=False), reactor=self.clock)
        self.told(self.ask(site=self.serve(News(polls))), 503)
        self.assertEqual((len(polls), polls.channels), (0, 0))

    def test_stop_answers_all_that_wait(self) -> None:
        connections = [self.ask() for _ in range(3)]
        self.assertIsNone(self.result(self.polls.stop()))
        for each in connections:
            self.told(each, 204)
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))


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
