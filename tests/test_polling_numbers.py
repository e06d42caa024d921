"""Long polling: what is published between two requests."""

from __future__ import annotations

from typing import Any

from tests.polling_case import News, PollsCase
from twbridge.polling import KEPT, LINGER, Polls


class BetweenTests(PollsCase):
    """Nothing is lost in silence between two requests."""

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

    def test_a_poll_that_is_answered_at_once_counts_for_that_minute(self) -> None:
        connection = self.ask()
        self.publish(1)
        number = self.number(connection)
        for _ in range(2):
            self.network.advance(LINGER - 1)
            self.publish(2)
            self.told(self.ask(number))
        self.network.advance(LINGER + 1)
        self.assertEqual(self.polls.channels, 0)


class FirstTests(PollsCase):
    """An empty ``after`` asks for the number, before anything is known."""

    def test_it_is_answered_at_once(self) -> None:
        self.assertEqual(self.number(self.ask(""), 204), "00000001-0")
        self.ask()
        self.publish(1, 2)
        found = self.told(self.ask(""), 204)
        self.assertEqual((found.body, found.fields["twbridge-number"]), (b"", "00000001-2"))
        self.assertNotIn("twbridge-missed", found.fields)

    def test_what_is_published_from_then_on_is_told(self) -> None:
        number = self.number(self.ask(""), 204)
        self.publish("while the state is loaded")
        found = self.told(self.ask(number))
        self.assertEqual(found.body, b"while the state is loaded")
        self.assertNotIn("twbridge-missed", found.fields)

    def test_also_when_nobody_polls_for_a_while(self) -> None:
        number = self.number(self.ask(""), 204)
        self.network.advance(LINGER - 1)
        self.publish(1)
        self.assertEqual(self.told(self.ask(number)).json, 1)
        self.ask("").leave()
        self.network.advance(LINGER + 1)
        self.assertEqual(self.polls.channels, 0)

    def test_it_waits_until_the_broker_has_the_subscription(self) -> None:
        self.result(self.listener.link.stop())
        connection = self.ask("")
        self.network.advance(5)
        self.assertTrue(connection.waits)
        self.listener.link.start()
        self.network.advance(1)
        self.assertEqual(self.number(connection, 204), "00000001-0")

    def test_which_takes_the_time_of_a_poll_at_most(self) -> None:
        self.result(self.listener.link.stop())
        connection = self.ask("")
        self.network.advance(11)
        self.told(connection, 503)
        self.assertEqual(len(self.polls), 0)
