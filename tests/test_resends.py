"""Resending: what is repeated is answered, not applied again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twbridge.errors import (
    ChannelClosed,
    ConfirmTimeout,
    EncodeError,
    Nacked,
    NotReady,
    OutcomeUnknown,
    TooLarge,
    TwbridgeError,
    Unroutable,
)
from twbridge.resends import Resends, message_id

CLIENT = "0d9bd6b5-6f4c-4b64-9d1a-8a5d1f3d6f0e"


class ResendsTestCase(SynchronousTestCase):
    """Publishes through a window; ``sent`` holds what was published."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[Deferred[None]] = []
        self.window()

    def window(self, **limits: Any) -> None:
        self.resends = Resends(self.clock, **limits)

    def send(self) -> Deferred[None]:
        self.sent.append(Deferred())
        return self.sent[-1]

    def publish(
        self,
        identity: str | int,
        client: str = CLIENT,
        user: str | None = None,
        content: bytes = b"",
    ) -> Deferred[None]:
        return self.resends.publish(user, client, identity, content, self.send)

    def published(self, identity: str | int, client: str = CLIENT, user: str | None = None) -> bool:
        """Whether it was published, and not answered from the window. Confirms it then."""
        before = len(self.sent)
        answer = self.publish(identity, client, user)
        if len(self.sent) > before:
            self.sent[-1].callback(None)
        self.successResultOf(answer)
        return len(self.sent) > before


class AnswerTests(ResendsTestCase):
    """What a repeated publish is answered."""

    def test_the_first_is_published_and_gets_the_brokers_answer(self) -> None:
        answer = self.publish("p1")
        self.assertNoResult(answer)
        self.sent[0].callback(None)
        self.successResultOf(answer)

    def test_something_else_with_the_same_id_is_published(self) -> None:
        theirs = self.publish("p1", content=b"by one who has read the id in a message_id")
        mine = self.publish("p1", content=b"mine")
        self.assertEqual(len(self.sent), 2)
        self.sent[0].callback(None)
        self.successResultOf(theirs)
        self.assertNoResult(mine)
        self.sent[1].callback(None)
        self.successResultOf(mine)
        self.successResultOf(self.publish("p1", content=b"mine"))
        self.assertEqual(len(self.sent), 2)

    def test_a_repeated_one_is_answered_at_once_and_not_published(self) -> None:
        self.publish("p1")
        self.sent[0].callback(None)
        self.successResultOf(self.publish("p1"))
        self.successResultOf(self.publish("p1"))
        self.assertEqual(len(self.sent), 1)

    def test_all_that_are_repeated_before_the_answer_get_it(self) -> None:
        answers = [self.publish("p1") for _ in range(3)]
        self.assertEqual(len(self.sent), 1)
        for answer in answers:
            self.assertNoResult(answer)
        self.sent[0].callback(None)
        for answer in answers:
            self.successResultOf(answer)

    def test_a_refusal_of_the_broker_is_repeated_too(self) -> None:
        for number, error in enumerate(
            (Nacked("no"), Unroutable(312, "NO_ROUTE"), ChannelClosed(404, "no exchange"))
        ):
            first, second = self.publish(number), self.publish(number)
            self.sent[-1].errback(error)
            for answer in (first, second, self.publish(number)):
                self.assertIs(self.failureResultOf(answer).value, error)
        self.assertEqual(len(self.sent), 3)

    def test_what_may_not_have_been_published_is_published_again(self) -> None:
        for number, error in enumerate(
            (OutcomeUnknown(), ConfirmTimeout(), NotReady(), EncodeError("x"), TwbridgeError())
        ):
            first, second = self.publish(number), self.publish(number)
            self.sent[-1].errback(error)
            for answer in (first, second):
                self.assertIs(self.failureResultOf(answer).value, error)
            self.assertTrue(self.published(number))
            self.assertFalse(self.published(number))

    def test_a_failure_of_our_own_is_told_and_not_remembered(self) -> None:
        answer = self.publish("p1")
        self.sent[0].errback(ZeroDivisionError())
        self.failureResultOf(answer, ZeroDivisionError)
        self.assertEqual(len(self.resends), 0)

    def test_what_publishing_raises_is_raised_and_not_remembered(self) -> None:
        def refuse() -> Deferred[None]:
            raise TooLarge("x")

        with self.assertRaises(TooLarge):
            self.resends.publish(None, CLIENT, "p1", b"", refuse)
        self.assertEqual(len(self.resends), 0)
        self.assertTrue(self.published("p1"))

    def test_a_remembered_refusal_holds_nothing_of_where_it_came_from(self) -> None:
        answer = self.publish("p1")
        try:
            raise Nacked from ZeroDivisionError()
        except Nacked as error:
            self.sent[0].errback(error)
        self.failureResultOf(answer)
        found = self.failureResultOf(self.publish("p1")).value
        self.assertEqual((found.__traceback__, found.__cause__), (None, None))


class IdentityTests(ResendsTestCase):
    """What is the same publish."""

    def test_clients_users_and_ids_are_told_apart(self) -> None:
        self.assertTrue(self.published("p1"))
        self.assertTrue(self.published("p2"))
        self.assertTrue(self.published("p1", client="other"))
        self.assertTrue(self.published("p1", user="alice"))
        self.assertTrue(self.published(1))
        self.assertTrue(self.published("1"))
        self.assertFalse(self.published("p1"))
        self.assertFalse(self.published(1))

    def test_long_ids_are_told_apart(self) -> None:
        self.assertTrue(self.published("🐇" * 255))
        self.assertTrue(self.published("🐇" * 254 + "x"))
        self.assertFalse(self.published("🐇" * 255))

    def test_the_message_id_is_that_of_client_and_id(self) -> None:
        self.assertEqual(message_id(CLIENT, "p1"), f"{CLIENT}/p1")
        self.assertEqual(message_id(CLIENT, 5), f"{CLIENT}/5")
        self.assertEqual(len(message_id(CLIENT, "x" * 218)), 255)
        for identity in ("x" * 219, "é" * 110):
            error = self.assertRaises(TooLarge, message_id, CLIENT, identity)
            self.assertIn("218 bytes", error.public)


class BoundTests(ResendsTestCase):
    """What is forgotten."""

    def test_after_its_time(self) -> None:
        self.window(seconds=300.0)
        self.published("p1")
        self.clock.advance(100)
        self.published("p2")
        self.clock.advance(199.9)
        self.assertFalse(self.published("p1"))
        self.clock.advance(0.1)
        self.assertTrue(self.published("p1"))
        self.assertFalse(self.published("p2"))

    def test_with_more_ids_than_the_window_has_the_oldest(self) -> None:
        self.window(ids=3)
        for identity in range(4):
            self.published(identity)
        self.assertEqual(len(self.resends), 3)
        self.assertFalse(self.published(1))
        self.assertTrue(self.published(0))

    def test_with_more_clients_than_there_may_be_the_one_of_longest_ago(self) -> None:
        self.window(clients=2)
        self.published("p1", client="a")
        self.published("p1", client="b")
        self.published("p2", client="a")
        self.published("p1", client="c")
        self.assertEqual(len(self.resends), 3)
        self.assertFalse(self.published("p1", client="a"))
        self.assertTrue(self.published("p1", client="b"))

    def test_with_more_ids_in_all_than_there_may_be_those_of_longest_ago(self) -> None:
        self.window(total=3)
        for client in "abcde":
            self.published("p1", client=client)
        self.assertEqual(len(self.resends), 3)
        self.assertFalse(self.published("p1", client="c"))
        self.assertTrue(self.published("p1", client="b"))

    def test_clients_that_are_silent_for_long_hold_no_memory(self) -> None:
        for client in "abc":
            self.published("p1", client=client)
        self.clock.advance(300)
        self.published("p1", client="d")
        self.assertEqual(len(self.resends), 1)

    def test_what_waits_for_its_answer_is_not_too_old(self) -> None:
        first = self.publish("p1")
        self.clock.advance(1000)
        second = self.publish("p1")
        self.published("p1", client="other")
        third = self.publish("p1")
        self.assertEqual(len(self.sent), 2)
        self.sent[0].callback(None)
        for answer in (first, second, third):
            self.successResultOf(answer)

    def test_one_that_is_forgotten_before_its_answer_is_answered_all_the_same(self) -> None:
        self.window(ids=1)
        first = self.publish("p1")
        self.published("p2")
        self.sent[0].errback(NotReady())
        self.failureResultOf(first, NotReady)
        self.assertEqual(len(self.resends), 1)


_OUTCOMES: tuple[Callable[[], Exception] | None, ...] = (None, Nacked, NotReady)


class PropertyTests(ResendsTestCase):
    """Whatever happens in whatever order."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["publish", "answer", "wait"]),
                st.sampled_from("abc"),
                st.integers(0, 5),
                st.sampled_from(_OUTCOMES),
            ),
            max_size=60,
        ),
        st.integers(1, 4),
        st.integers(1, 3),
        st.integers(1, 8),
    )
    def test_every_publish_is_answered_once_and_memory_is_bounded(
        self,
        steps: list[tuple[str, str, int, Callable[[], Exception] | None]],
        ids: int,
        clients: int,
        total: int,
    ) -> None:
        self.setUp()
        self.window(ids=ids, clients=clients, total=total, seconds=10.0)
        asked: list[Deferred[None]] = []
        answers: list[int] = []
        unanswered: list[Deferred[None]] = []

        def send() -> Deferred[None]:
            unanswered.append(Deferred())
            return unanswered[-1]

        def ask(client: str, identity: int) -> None:
            answer = self.resends.publish(None, client, identity, b"", send)
            asked.append(answer)
            answer.addErrback(lambda failure: failure.trap(Nacked, NotReady))
            answer.addCallback(lambda _: answers.append(1))

        def answer_one(outcome: Callable[[], Exception] | None) -> None:
            first = unanswered.pop(0)
            first.callback(None) if outcome is None else first.errback(outcome())

        for step, client, number, outcome in steps:
            if step == "publish":
                ask(client, number)
            elif step == "wait":
                self.clock.advance(number)
            elif unanswered:
                answer_one(outcome)
            self.assertLessEqual(len(self.resends), min(total, ids * clients))
        while unanswered:
            answer_one(None)
        self.assertEqual(len(answers), len(asked))

    @given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
    def test_within_the_bounds_what_was_taken_is_never_published_twice(
        self, steps: list[tuple[int, bool]]
    ) -> None:
        self.setUp()
        taken: set[int] = set()
        for identity, works in steps:
            before = len(self.sent)
            answer = self.publish(identity)
            self.assertEqual(len(self.sent) > before, identity not in taken)
            if identity in taken:
                self.successResultOf(answer)
            elif works:
                taken.add(identity)
                self.sent[-1].callback(None)
                self.successResultOf(answer)
            else:
                self.sent[-1].errback(OutcomeUnknown())
                self.failureResultOf(answer, OutcomeUnknown)
