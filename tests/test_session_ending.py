"""One client: what has ended is told when the broker has let it go, and nothing runs into it."""

from __future__ import annotations

from tests.session_case import SessionCase
from twbridge.commands import (
    Command,
    Disconnect,
    Disconnected,
    Event,
    Ping,
    Pong,
    Publish,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from twbridge.destinations import parse
from twbridge.dialects.interfaces import Close
from twbridge.errors import ChannelClosed, ConnectionClosed
from twbridge.link.topology import Queue

TOPIC, JOBS, MORE = parse("/topic/a"), parse("/queue/jobs"), parse("/queue/more")
DURABLE = Queue("durable", durable=True, exclusive=False, auto_delete=False)
REFUSED = ChannelClosed(403, "ACCESS_REFUSED")


def begin(identity: str = "s", name: str = "x") -> Subscribe:
    return Subscribe(identity, TOPIC, name=name, queue=DURABLE)


def end(identity: str = "u", name: str = "x") -> Unsubscribe:
    return Unsubscribe(identity, TOPIC, name, delete=True)


BEGUN, ENDED = Subscribed("s", TOPIC, "x"), Unsubscribed("u", TOPIC, name="x")


class EndingTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.scripted()

    def subscribed(self, *wanted: Subscribe) -> None:
        """They stand, and the broker says nothing by itself from now on."""
        self.ask(self.session, *wanted)
        self.link.held = True

    def test_it_is_told_when_the_broker_has_let_the_queue_go(self) -> None:
        self.subscribed(begin())
        self.assertEqual(self.ask(self.session, end(), Ping(1)), [Pong(1)])
        self.assertTrue(self.link.consumers[0].deleted)
        self.assertEqual((self.codec.told(), self.transport.reading), ([], True))
        self.link.let_go()
        self.assertEqual(self.codec.told(), [ENDED])

    def test_that_it_could_not_be_told_to_let_go_is_the_end_of_it_too(self) -> None:
        self.subscribed(begin())
        self.ask(self.session, end())
        self.link.cancels[0].errback(ConnectionClosed(320, "gone"))
        self.assertEqual(self.codec.told(), [ENDED])

    def test_what_declares_a_queue_waits_for_it_and_all_that_follows_behind(self) -> None:
        for destination, queue in ((TOPIC, DURABLE), (JOBS, None)):
            self.link.held = False
            self.subscribed(begin())
            made = len(self.link.consumers)
            again = Subscribe("t", destination, name="y", queue=queue)
            self.assertEqual(self.ask(self.session, end(), again, Ping(1)), [])
            self.assertEqual((len(self.link.consumers), self.transport.reading), (made, False))
            self.link.let_go()
            self.assertEqual(self.codec.told(), [ENDED, Pong(1)])
            self.assertEqual((len(self.link.consumers), self.transport.reading), (made + 1, True))
            self.link.release()
            self.assertEqual(self.codec.told(), [Subscribed("t", destination, "y")])
            self.ask(self.session, Unsubscribe(None, destination, "y"))

    def test_what_has_its_name_waits_but_no_other_live_one(self) -> None:
        self.ask(self.session, Subscribe(None, TOPIC, name="live"))
        self.subscribed(begin())
        others = [Subscribe(name, TOPIC, name=name) for name in ("y", "x")]
        self.assertEqual(
            self.ask(self.session, end(), *others, Ping(1)), [Subscribed("y", TOPIC, "y")]
        )
        self.link.let_go()
        self.assertEqual(self.codec.told(), [ENDED, Subscribed("x", TOPIC, "x"), Pong(1)])

    def test_it_counts_among_the_subscriptions_until_then(self) -> None:
        self.subscribed(begin())
        self.link.held = False
        live = [Subscribe(name, TOPIC, name=name) for name in ("y", "z")]
        self.ask(self.session, live[0])
        self.link.held = True
        self.assertEqual(self.ask(self.session, end(), live[1]), [Subscribed("z", TOPIC, "z")])
        more = [Subscribe(name, TOPIC, name=name) for name in ("v", "w")]
        self.assertEqual(self.ask(self.session, *more), [])
        self.link.let_go()
        ended, subscribed, refused = self.codec.told()
        self.assertEqual((ended, subscribed), (ENDED, Subscribed("v", TOPIC, "v")))
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, refused.error.code), ("w", "too_many"))

    def test_it_waits_for_all_ends(self) -> None:
        self.subscribed(begin(), Subscribe(None, JOBS, name="y"))
        wanted = (end(), Unsubscribe("v", JOBS, "y"), Subscribe("m", MORE), Ping(1))
        self.assertEqual(self.ask(self.session, *wanted), [])
        for answer, told in zip(self.link.cancels, (ENDED, None), strict=True):
            answer.callback(None)
            self.assertEqual(self.codec.told()[:1], [told or Unsubscribed("v", JOBS, name="y")])
            self.assertEqual(self.transport.reading, told is None)

    def test_one_that_is_taken_back_ends_when_the_broker_has_let_go_what_it_made(self) -> None:
        self.link.held = True
        refused, *rest = self.ask(self.session, begin(), end(), begin("t"))
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, refused.error.code, rest), ("s", "conflict", []))
        self.link.consuming[0].callback(self.link.consumers[0])
        self.assertTrue(self.link.consumers[0].deleted)
        self.assertEqual((self.codec.told(), len(self.link.consumers)), ([], 1))
        self.link.let_go()
        self.assertEqual((self.codec.told(), len(self.link.consumers)), ([ENDED], 2))
        self.link.release()
        self.assertEqual(self.codec.told(), [Subscribed("t", TOPIC, "x")])

    def test_or_when_the_broker_has_refused_it(self) -> None:
        self.link.held = True
        self.ask(self.session, begin(), end())
        self.link.consuming[0].errback(REFUSED)
        self.assertEqual(self.codec.told(), [ENDED])

    def test_while_the_broker_is_away_it_ends_at_once(self) -> None:
        self.link.held = True
        self.link.become("connecting")
        refused, ended = self.ask(self.session, begin(), end())
        assert isinstance(refused, Refused)
        self.assertEqual((refused.id, ended), ("s", ENDED))

    def test_what_waits_goes_with_the_session(self) -> None:
        self.subscribed(begin())
        self.ask(self.session, end(), begin())
        self.session.lost()
        self.link.release()
        self.assertEqual((self.codec.told(), len(self.link.consumers)), ([], 1))


class OrderedEndingTests(SessionCase):
    """Where the dialect keeps order."""

    def setUp(self) -> None:
        super().setUp()
        self.session = self.scripted()
        self.codec.ordered = True
        self.codec.ends = lambda event: Close(1000, "") if type(event) is Disconnected else None

    def test_many_in_turn_each_stand_and_end(self) -> None:
        self.link.held = True
        pair: list[Command] = [begin(), end()]
        self.assertEqual(self.ask(self.session, *pair * 3, begin()), [])
        told: list[Event] = []
        for turn in range(4):
            self.assertEqual(len(self.link.consumers), turn + 1)
            consumer = self.link.consumers[turn]
            self.link.consuming[turn].callback(consumer)
            consumer.answers[0].callback(None)
            told += self.codec.told()
            self.assertEqual(consumer.deleted, turn < 3)
            self.link.let_go()
            told += self.codec.told()
        self.assertEqual(told, [*[BEGUN, ENDED] * 3, BEGUN])
        self.assertTrue(self.transport.reading)

    def test_a_flood_of_them_has_one_at_a_time_at_the_broker(self) -> None:
        count = 3000
        self.link.held = True
        jobs: list[Command] = [Subscribe(1, JOBS, name="x"), Unsubscribe(2, JOBS, "x")]
        self.ask(self.session, *jobs * count, Ping(3))
        for turn in range(count):
            self.assertEqual((len(self.link.consumers), self.transport.reading), (turn + 1, False))
            self.link.consuming[turn].callback(self.link.consumers[turn])
            self.link.cancels[turn].callback(None)
        self.assertEqual(len(self.codec.told()), 2 * count + 1)
        self.assertTrue(self.transport.reading)

    def test_a_flood_that_is_answered_at_once_is_carried_out_at_once(self) -> None:
        self.link.held = True
        jobs: list[Command] = [Subscribe(1, JOBS, name="x"), Unsubscribe(2, JOBS, "x")]
        self.ask(self.session, *jobs * 3000)
        self.link.release()
        self.assertEqual((len(self.codec.told()), self.transport.reading), (6000, True))

    def test_a_refusal_is_told_before_the_end(self) -> None:
        self.link.held = True
        self.ask(self.session, begin(), end())
        self.link.consuming[0].errback(REFUSED)
        first, second = self.codec.told()
        self.assertEqual(first, Refused("s", REFUSED, "subscribe", TOPIC))
        assert isinstance(second, Refused)
        self.assertEqual((second.id, second.error.code), ("u", "not_found"))

    def test_who_leaves_waits_until_all_stands(self) -> None:
        self.link.held = True
        self.assertEqual(self.ask(self.session, begin(), Disconnect("d")), [])
        (consumer,) = self.link.consumers
        self.link.consuming[0].callback(consumer)
        self.assertEqual((self.codec.told(), self.transport.closed), ([], None))
        consumer.answers[0].callback(None)
        self.assertEqual(self.codec.told(), [BEGUN, Disconnected("d")])
        self.assertEqual(self.transport.closed, (1000, ""))

    def test_or_was_refused(self) -> None:
        self.link.held = True
        self.ask(self.session, begin(), Disconnect("d"))
        self.link.consuming[0].errback(REFUSED)
        self.assertEqual(
            self.codec.told(), [Refused("s", REFUSED, "subscribe", TOPIC), Disconnected("d")]
        )

    def test_and_until_all_has_ended(self) -> None:
        self.ask(self.session, begin())
        self.link.held = True
        publish = Publish("p", TOPIC, b"", {})
        self.assertEqual(self.ask(self.session, end(), publish, Disconnect("d")), [])
        self.link.let_go()
        self.assertEqual(self.codec.told(), [ENDED])
        self.link.published[0].answer.callback(None)
        self.assertEqual(self.codec.told()[-1], Disconnected("d"))
