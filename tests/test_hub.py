"""Live subscriptions: what the broker is asked for, and what happens when it fails."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeConsumer, FakeLink, FakeSubscriber, delivery
from twbridge.destinations import Destination, parse
from twbridge.errors import BadDestination, ChannelClosed, Conflict, NotReady
from twbridge.hub import Hub

GONE = ChannelClosed(404, "NOT_FOUND - no queue 'amq.gen-x' in vhost '/'")
MISSING = ChannelClosed(404, "NOT_FOUND - no exchange 'x' in vhost '/'")


class HubCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = FakeLink()
        self.clock = Clock()
        self.hub = Hub(self.link, self.clock, exchange_types={"news": "topic", "odd": "x-random"})

    def tearDown(self) -> None:
        self.hub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer was left")
        self.assertEqual(self.link.listeners, 0)

    def subscribe(
        self, text: str, subscriber: FakeSubscriber | None = None, patient: bool = False
    ) -> tuple[Deferred[None], FakeSubscriber]:
        subscriber = subscriber or FakeSubscriber()
        return self.hub.subscribe(parse(text), subscriber, patient=patient), subscriber

    def subscribed(self, text: str, subscriber: FakeSubscriber | None = None) -> FakeSubscriber:
        answer, subscriber = self.subscribe(text, subscriber)
        self.successResultOf(answer)
        return subscriber

    @property
    def consumer(self) -> FakeConsumer:
        return self.link.consumers[-1]


class SubscribingTests(HubCase):
    def test_one_exclusive_server_named_queue_for_an_exchange_of_known_type(self) -> None:
        for key in ("a", "b.#", "#"):
            self.subscribed(f"/topic/{key}")
        self.subscribed("/exchange/amq.topic/c")
        (consumer,) = self.link.consumers
        self.assertEqual(
            (consumer.queue.name, consumer.queue.exclusive, consumer.queue.durable),
            ("", True, False),
        )
        self.assertEqual((consumer.options["no_ack"], consumer.options["prefetch"]), (True, 0))
        self.assertEqual(consumer.bindings, [("amq.topic", key) for key in ("a", "b.#", "#", "c")])

    def test_a_binding_is_shared(self) -> None:
        for _ in range(3):
            self.subscribed("/topic/a")
        self.subscribed("/exchange/amq.topic/a")
        self.assertEqual(self.consumer.binds, [("amq.topic", "a")])
        self.assertEqual((self.hub.queues, self.hub.bindings), (1, 1))

    def test_a_queue_for_each_destination_where_the_type_is_unknown(self) -> None:
        for text in ("/exchange/x/a", "/exchange/x/b", "/exchange/x/a", "/exchange/odd/a"):
            self.subscribed(text)
        self.assertEqual(
            [consumer.bindings for consumer in self.link.consumers],
            [[("x", "a")], [("x", "b")], [("odd", "a")]],
        )

    def test_it_is_answered_when_the_broker_has_bound_it(self) -> None:
        self.link.held = True
        answer, _ = self.subscribe("/topic/a")
        second, _ = self.subscribe("/topic/a")
        self.assertNoResult(answer)
        self.link.consuming[0].callback(self.consumer)  # consumes, not bound yet
        self.assertNoResult(answer)
        self.link.release()
        self.successResultOf(answer)
        self.successResultOf(second)

    def test_no_frame_comes_before_the_answer(self) -> None:
        self.link.held = True
        _, subscriber = self.subscribe("/topic/a")
        self.link.consuming[0].callback(self.consumer)
        self.consumer.deliver(delivery("a", b"early"))
        self.link.release()
        self.consumer.deliver(delivery("a", b"now"))
        self.assertEqual(subscriber.frames, [b"/topic/a a now"])

    def test_what_is_not_live_is_refused(self) -> None:
        for destination in (parse("/queue/a"), parse("/task/a"), Destination("exchange", "")):
            answer = self.hub.subscribe(destination, FakeSubscriber())
            self.failureResultOf(answer, BadDestination)
        self.assertEqual(self.link.consumers, [])

    def test_a_pattern_that_costs_too_much_is_refused_where_the_hub_matches(self) -> None:
        costly = "#." * 8 + "#"
        answer, _ = self.subscribe(f"/topic/{costly}")
        self.failureResultOf(answer, BadDestination)
        self.subscribed(f"/exchange/x/{costly}")

    def test_a_missing_exchange_is_told_and_leaves_nothing(self) -> None:
        self.link.refused["x"] = MISSING
        answer, _ = self.subscribe("/exchange/x/a")
        self.assertEqual(self.failureResultOf(answer, ChannelClosed).value.code, "not_found")
        self.assertTrue(self.consumer.cancelled)
        self.assertEqual((self.hub.queues, self.hub.bindings), (0, 0))

    def test_a_queue_that_the_broker_refuses_is_told_to_all_who_wait(self) -> None:
        self.link.held = True
        answers = [self.subscribe(f"/topic/{key}")[0] for key in "ab"]
        self.link.consuming[0].errback(ChannelClosed(403, "ACCESS_REFUSED"))
        for answer in answers:
            self.assertEqual(self.failureResultOf(answer, ChannelClosed).value.code, "forbidden")
        self.assertEqual(self.hub.queues, 0)

    def test_a_queue_that_is_not_made_in_time_is_asked_for_again(self) -> None:
        self.link.consume_errors = [NotReady("not in time")]
        answer, _ = self.subscribe("/topic/a")
        self.assertNoResult(answer)
        self.clock.advance(1.0)
        self.successResultOf(answer)


class UnsubscribingTests(HubCase):
    def test_the_queue_goes_a_little_after_the_last_subscriber(self) -> None:
        one, other = self.subscribed("/topic/a"), self.subscribed("/topic/a")
        for subscriber in (one, other):
            self.hub.unsubscribe(parse("/topic/a"), subscriber)
        self.clock.advance(4.9)
        self.assertFalse(self.consumer.cancelled)
        self.clock.advance(0.2)
        self.assertTrue(self.consumer.cancelled)
        self.assertEqual((self.hub.queues, self.hub.bindings, self.hub.idle), (0, 0, 0))

    def test_a_binding_goes_alone_while_others_are_there(self) -> None:
        one = self.subscribed("/topic/a")
        self.subscribed("/topic/b")
        self.hub.unsubscribe(parse("/topic/a"), one)
        self.clock.advance(5.0)
        self.assertEqual(self.consumer.bindings, [("amq.topic", "b")])
        self.assertFalse(self.consumer.cancelled)

    def test_the_reload_of_a_page_costs_the_broker_nothing(self) -> None:
        one = self.subscribed("/topic/a")
        self.hub.unsubscribe(parse("/topic/a"), one)
        self.clock.advance(4.0)
        self.subscribed("/topic/a")
        self.clock.advance(60.0)
        self.assertEqual(self.consumer.binds, [("amq.topic", "a")])
        self.assertEqual((self.hub.bindings, self.hub.idle), (1, 0))

    def test_who_left_gets_nothing_from_then_on(self) -> None:
        one, other = self.subscribed("/topic/a"), self.subscribed("/topic/a")
        self.consumer.deliver(delivery("a", b"1"))
        self.hub.unsubscribe(parse("/topic/a"), one)
        self.consumer.deliver(delivery("a", b"2"))
        self.assertEqual((len(one.frames), len(other.frames)), (1, 2))

    def test_what_is_not_subscribed_is_ignored(self) -> None:
        self.hub.unsubscribe(parse("/topic/a"), FakeSubscriber())
        self.subscribed("/topic/a")
        self.hub.unsubscribe(parse("/topic/a"), FakeSubscriber())
        self.hub.unsubscribe(parse("/topic/b"), FakeSubscriber())
        self.clock.advance(60.0)
        self.assertEqual(self.hub.bindings, 1)

    def test_it_can_be_taken_back_before_the_broker_answers(self) -> None:
        self.link.held = True
        answer, subscriber = self.subscribe("/topic/a")
        answer.cancel()
        self.failureResultOf(answer, Conflict)
        self.link.release()
        self.consumer.deliver(delivery("a"))
        self.assertEqual(subscriber.frames, [])
        self.clock.advance(5.0)
        self.assertTrue(self.consumer.cancelled)
        self.assertEqual(self.hub.queues, 0)

    def test_a_queue_that_comes_when_nobody_wants_it_any_more_is_given_back(self) -> None:
        self.link.held = True
        answer, _ = self.subscribe("/topic/a")
        answer.cancel()
        self.failureResultOf(answer, Conflict)
        self.clock.advance(5.0)
        self.assertEqual(self.hub.queues, 0)
        self.link.release()
        self.assertTrue(self.consumer.cancelled)

    def test_the_bindings_that_linger_are_bounded(self) -> None:
        for number in range(1100):
            text = f"/topic/{number}"
            self.hub.unsubscribe(parse(text), self.subscribed(text))
        self.clock.advance(0)
        self.assertEqual(self.hub.bindings, 1000)
        self.clock.advance(5.0)
        self.assertEqual(self.hub.bindings, 0)


class LinkTests(HubCase):
    def test_while_the_link_is_down_it_waits_for_the_recovery(self) -> None:
        self.link.become("connecting")
        answer, subscriber = self.subscribe("/topic/a")
        self.clock.advance(9.0)
        self.assertEqual(self.link.consumers, [])
        self.link.become("ready")
        self.successResultOf(answer)
        self.consumer.deliver(delivery("a"))
        self.assertEqual(len(subscriber.frames), 1)

    def test_a_blocked_link_consumes(self) -> None:
        self.link.become("blocked")
        self.subscribed("/topic/a")

    def test_it_fails_with_not_ready_after_the_timeout(self) -> None:
        self.link.become("connecting")
        answer, subscriber = self.subscribe("/topic/a")
        self.clock.advance(10.0)
        self.failureResultOf(answer, NotReady)
        self.clock.advance(5.0)
        self.link.become("ready")
        self.assertEqual((self.link.consumers, subscriber.frames, self.hub.queues), ([], [], 0))

    def test_the_patient_wait_without_limit(self) -> None:
        self.link.become("connecting")
        answer, _ = self.subscribe("/topic/a", patient=True)
        self.clock.advance(3600)
        self.assertNoResult(answer)
        self.link.become("ready")
        self.successResultOf(answer)

    def test_an_existing_binding_is_answered_after_the_recovery_too(self) -> None:
        self.subscribed("/topic/a")
        self.link.become("connecting")
        answer, _ = self.subscribe("/topic/a")
        self.assertNoResult(answer)
        self.link.become("ready")
        self.successResultOf(answer)
        self.assertEqual(self.consumer.binds, [("amq.topic", "a")])

    def test_the_reconnect_of_the_link_changes_nothing_here(self) -> None:
        subscriber = self.subscribed("/topic/a")
        for state in ("connecting", "ready", "blocked", "ready"):
            self.link.become(state)
        self.assertEqual((len(self.link.consumers), len(self.consumer.binds)), (1, 1))
        self.consumer.deliver(delivery("a"))
        self.assertEqual((len(subscriber.frames), subscriber.gaps), (1, []))

    def test_a_bind_that_the_loss_of_the_link_undid_is_asked_again(self) -> None:
        self.link.held = True
        answer, _ = self.subscribe("/topic/a", patient=True)
        self.link.consuming[0].callback(self.consumer)
        self.link.become("connecting")
        self.consumer.answers[0].errback(NotReady("the link was not up in time"))
        self.link.held = False
        self.link.become("ready")
        self.successResultOf(answer)
        self.assertEqual(len(self.consumer.binds), 2)
        self.clock.advance(1.0)


class EndTests(HubCase):
    def test_a_queue_that_the_broker_took_away_is_made_again_at_once(self) -> None:
        subscriber = self.subscribed("/topic/a")
        self.clock.advance(60)
        self.consumer.end(GONE)
        self.clock.advance(0)
        self.assertEqual(len(self.link.consumers), 2)
        self.assertEqual(self.consumer.bindings, [("amq.topic", "a")])
        self.assertEqual(subscriber.gaps, [parse("/topic/a")])
        self.consumer.deliver(delivery("a"))
        self.assertEqual((len(subscriber.frames), subscriber.over), (1, []))

    def test_one_that_was_made_just_now_is_made_again_slowly(self) -> None:
        self.subscribed("/topic/a")
        self.consumer.end(GONE)
        self.clock.advance(0.9)
        self.assertEqual(len(self.link.consumers), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.link.consumers), 2)

    def test_where_the_exchange_went_too_the_subscription_ends_with_the_reason(self) -> None:
        one, other = self.subscribed("/exchange/news/a"), self.subscribed("/topic/a")
        self.clock.advance(60)
        self.link.refused["news"] = MISSING
        self.link.consumers[0].end(GONE)
        self.clock.advance(0)
        self.assertEqual(one.over, [(parse("/exchange/news/a"), MISSING)])
        self.assertEqual((other.over, other.gaps), ([], []))
        self.assertEqual(self.hub.queues, 1)

    def test_while_the_link_is_down_it_is_made_again_after_the_recovery(self) -> None:
        subscriber = self.subscribed("/topic/a")
        self.clock.advance(60)
        self.link.become("connecting")
        self.consumer.end(GONE)
        self.clock.advance(60)
        self.assertEqual(len(self.link.consumers), 1)
        self.link.become("ready")
        self.assertEqual(len(self.link.consumers), 2)
        self.assertEqual(subscriber.gaps, [parse("/topic/a")])

    def test_who_waits_for_a_bind_when_the_queue_goes_waits_on(self) -> None:
        self.subscribed("/topic/a")
        self.clock.advance(60)
        self.link.held = True
        answer, _ = self.subscribe("/topic/b")
        self.link.held = False
        self.consumer.end(GONE)
        self.assertNoResult(answer)
        self.clock.advance(0)
        self.successResultOf(answer)

    def test_a_new_subscriber_in_between_makes_no_second_queue(self) -> None:
        self.subscribed("/topic/a")
        self.consumer.end(GONE)
        answer, _ = self.subscribe("/topic/b")
        self.clock.advance(1.0)
        self.successResultOf(answer)
        self.assertEqual(len(self.link.consumers), 2)

    def test_what_one_answer_sets_off_may_take_another_back(self) -> None:
        self.link.held = True
        subscriber = FakeSubscriber()
        first, _ = self.subscribe("/topic/a", subscriber)
        second, _ = self.subscribe("/exchange/amq.topic/a", subscriber)
        first.addCallback(lambda _: second.cancel())
        self.link.release()
        self.successResultOf(first)
        self.failureResultOf(second, Conflict)
        self.consumer.deliver(delivery("a"))
        self.assertEqual(len(subscriber.frames), 1)
