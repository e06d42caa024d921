"""Long polling: the broker or the link is away, or all is stopped."""

from __future__ import annotations

import gzip
from typing import TypeVar

from tests.polling_case import News, Notes, PollsCase
from tests.web.harness import Answer
from twbridge.polling import KEPT, Polls
from twbridge.rpc.messages import PUBSUB

T = TypeVar("T")


class InterruptedTests(PollsCase):
    """The link was away: what was published meanwhile is lost, and nobody knows what it was."""

    def lost(self, found: Answer, number: str) -> None:
        """It says that something is missing before this number, and nothing else."""
        self.assertEqual((found.status, found.body), (204, b""))
        self.assertEqual(found.fields["twbridge-number"], number)
        self.assertEqual(found.fields["twbridge-missed"], "unknown")

    def test_who_waits_is_told_when_the_link_is_back_and_once(self) -> None:
        connections = [self.ask(), self.ask("000000ff-7")]
        self.result(self.listener.link.stop())
        self.publish("lost")
        self.assertTrue(all(each.waits for each in connections))
        self.listener.link.start()
        self.network.advance(1)
        for each in connections:
            self.lost(each.take(), "00000001-1")
        connection = self.ask("00000001-1")
        self.assertTrue(connection.waits)
        self.publish(1)
        found = self.told(connection)
        self.assertEqual((found.json, found.fields["twbridge-number"]), (1, "00000001-2"))
        self.assertNotIn("twbridge-missed", found.fields)

    def test_who_comes_later_with_a_number_is_told_at_once(self) -> None:
        connection = self.ask()
        self.publish(1)
        number = self.number(connection)
        self.publish(2)
        self.away("lost")
        found = self.told(self.ask(number))
        self.assertEqual(found.json, 2)
        self.assertNotIn("twbridge-missed", found.fields)
        self.lost(self.ask(found.fields["twbridge-number"]).take(), "00000001-3")
        self.publish(4)
        self.lost(self.ask("00000001-2").take(), "00000001-3")
        self.assertEqual(self.told(self.ask("00000001-3")).json, 4)

    def test_who_begins_behind_it_is_told_nothing(self) -> None:
        self.ask()
        self.away("lost")
        connections = [self.ask(), self.ask(self.number(self.ask(""), 204))]
        self.publish(1)
        for each in connections:
            found = self.told(each)
            self.assertEqual(found.json, 1)
            self.assertNotIn("twbridge-missed", found.fields)

    def test_who_asks_for_the_number_meanwhile_gets_that_behind_it(self) -> None:
        self.ask()
        self.result(self.listener.link.stop())
        connection = self.ask("")
        self.assertTrue(connection.waits)
        self.listener.link.start()
        self.network.advance(1)
        found = self.told(connection, 204)
        self.assertEqual(found.fields["twbridge-number"], "00000001-1")
        self.assertNotIn("twbridge-missed", found.fields)

    def test_several_in_a_row_are_told_once_and_take_the_place_of_nothing(self) -> None:
        connection = self.ask()
        self.publish(0)
        number = self.number(connection)
        self.publish(1)
        for _ in range(3):
            self.away("lost")
        found = self.told(self.ask(number))
        self.assertEqual(found.json, 1)
        self.lost(self.ask(found.fields["twbridge-number"]).take(), "00000001-5")
        self.lost(self.ask("00000001-3").take(), "00000001-5")
        self.assertTrue(self.ask("00000001-5").waits)

    def test_with_the_next_message_where_it_is_not_kept_any_more(self) -> None:
        connection = self.ask()
        self.publish(0)
        number = self.number(connection)
        self.away("lost")
        self.publish(*range(KEPT + 5))
        self.assertEqual(self.told(self.ask(number)).fields["twbridge-missed"], "unknown")
        behind = self.told(self.ask("00000001-2"))
        self.assertEqual((behind.json, behind.fields["twbridge-missed"]), (5, "5"))

    def test_the_newest_message_stays_whatever_its_size(self) -> None:
        connection = self.ask()
        self.publish(0)
        number = self.number(connection)
        self.publish(b"\x00" * 2_000_000)
        self.away()
        found = self.told(self.ask(number))
        self.assertEqual(len(found.body), 2_000_000)
        self.assertNotIn("twbridge-missed", found.fields)

    def test_a_queue_that_somebody_deletes_is_one_too(self) -> None:
        connection = self.ask()
        vhost = self.network.broker.vhost
        vhost.delete_queue(vhost.queues[self.listener._pubsub._queue.name])
        self.network.pump()
        self.lost(connection.take(), "00000001-1")

    def test_what_can_not_be_read_is_told_at_once(self) -> None:
        connection = self.ask()
        properties = {"content_type": "text/plain", "content_encoding": "gzip"}
        for data in (b"no", gzip.compress(b"yes")):
            self.result(self.speaker.link.publish(PUBSUB, "news", data, properties))
        self.lost(connection.take(), "00000001-1")
        found = self.told(self.ask("00000001-1"))
        self.assertEqual(found.body, b"yes")
        self.assertNotIn("twbridge-missed", found.fields)


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

    def test_polls_of_a_known_channel_end_after_the_time_of_the_link(self) -> None:
        before = self.ask()
        self.network.advance(5)
        self.result(self.listener.link.stop())
        self.network.advance(5)
        behind = self.ask()
        self.network.advance(4.5)
        self.assertTrue(before.waits)
        self.network.advance(1)
        self.assertEqual(self.told(before, 503).fields["retry-after"], "5")
        self.assertTrue(behind.waits)
        self.network.advance(5)
        self.told(behind, 503)
        self.listener.link.start()
        self.network.advance(1)
        self.assertEqual(self.polls.channels, 1)

    def test_or_at_their_own_timeout(self) -> None:
        site = self.serve(Notes(self.polls).app.resource())
        before = self.ask()
        self.network.advance(24)
        self.result(self.listener.link.stop())
        behind = self.get("/later", site)
        self.network.advance(1)
        self.told(before, 503)
        self.network.advance(4)
        self.told(behind, 503)

    def test_what_is_kept_is_told_meanwhile(self) -> None:
        connection = self.ask()
        self.publish(1)
        number = self.number(connection)
        self.publish(2)
        self.result(self.listener.link.stop())
        self.assertEqual(self.told(self.ask(number)).json, 2)


class StopTests(PollsCase):
    """The polls are stopped, or their caller is."""

    def test_stop_answers_all_that_wait(self) -> None:
        connections = [self.ask() for _ in range(3)]
        self.assertIsNone(self.result(self.polls.stop()))
        for each in connections:
            self.told(each, 204)
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))

    def test_and_from_then_on_all_are_503_at_once(self) -> None:
        self.ask()
        self.result(self.polls.stop())
        for after in (None, "", "00000001-0", "x"):
            self.assertEqual(self.told(self.ask(after), 503).fields["retry-after"], "5")
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))

    def test_who_asks_again_at_once_gets_that_too(self) -> None:
        def ask_again(answer: T) -> T:
            connections.append(self.ask())
            return answer

        connections = [self.ask()]
        (channel,) = self.polls._channels.values()
        (poll,) = channel.polls
        poll.answer.addCallback(ask_again)
        self.result(self.polls.stop())
        for each, status in zip(connections, (204, 503), strict=True):
            self.told(each, status)
        self.result(self.listener.stop())
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))

    def test_a_caller_that_stops_ends_its_channels(self) -> None:
        connections = [self.ask(), self.ask("000000ff-7")]
        self.result(self.listener.stop())
        for each in connections:
            self.assertEqual(self.told(each, 503).fields["retry-after"], "5")
        self.assertEqual((len(self.polls), self.polls.channels), (0, 0))
        self.told(self.ask(), 503)

    def test_one_whose_channel_nobody_polls_just_now_too(self) -> None:
        self.ask().leave()
        self.result(self.listener.stop())
        self.assertEqual(self.polls.channels, 0)

    def test_one_that_begins_anew_tells_that_it_was_stopped(self) -> None:
        connection = self.ask()
        self.publish(1)
        number = self.number(connection)
        self.result(self.listener.stop())
        self.publish("lost")
        self.result(self.listener.start())
        connection = self.ask(number)
        self.publish(2)
        found = self.told(connection)
        self.assertEqual((found.json, found.fields["twbridge-missed"]), (2, "unknown"))
        self.assertEqual(found.fields["twbridge-number"], "00000002-1")
