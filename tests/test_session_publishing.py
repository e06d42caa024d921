"""One client: what it publishes, and when it is not read."""

from __future__ import annotations

from typing import Any

from tests.session_case import Allow, SessionCase
from twbridge.errors import (
    ChannelClosed,
    EncodeError,
    Nacked,
    NotReady,
    OutcomeUnknown,
    Unroutable,
)
from twbridge.session import State


class PublishingTests(SessionCase):
    rules = (Allow("publish", "/topic/#"), Allow("publish", "/queue/*"))

    def setUp(self) -> None:
        super().setUp()
        self.session = self.json()
        self.told()

    def test_published_is_told_after_the_confirm_and_not_before(self) -> None:
        answer = self.publish(self.session, "p")
        self.assertEqual(self.told(), [])
        answer.callback(None)
        self.assertEqual(self.told(), [{"op": "published", "id": "p"}])

    def test_it_goes_where_the_destination_says(self) -> None:
        self.publish(self.session, "p", destination="/topic/a.b", headers={"h": 1})
        self.publish(self.session, "q", destination="/queue/jobs", base64="/w==", body=None)
        self.assertEqual(len(self.link.published), 1, "a body and a base64 are refused")
        self.say(self.session, "publish", destination="/queue/jobs", base64="/w==")
        first, second = self.link.published
        self.assertEqual(
            (first.exchange, first.routing_key, first.body, first.mandatory),
            ("amq.topic", "a.b", b"1", False),
        )
        self.assertEqual(
            first.properties, {"content_type": "application/json", "headers": {"h": 1}}
        )
        self.assertEqual(
            (second.exchange, second.routing_key, second.body, second.mandatory),
            ("", "jobs", b"\xff", True),
        )

    def test_a_failure_is_told_by_its_code(self) -> None:
        for error, code in (
            (Nacked(), "nacked"),
            (Unroutable(312, "NO_ROUTE"), "unroutable"),
            (NotReady("secret"), "not_ready"),
            (OutcomeUnknown("secret"), "unknown"),
            (ChannelClosed(404, "secret"), "not_found"),
        ):
            self.publish(self.session, "p").errback(error)
            (told,) = self.told()
            self.assertEqual((told["op"], told["id"], told["code"]), ("error", "p", code))
            self.assertNotIn("secret", told["message"])

    def test_a_failure_that_nobody_expected_is_logged_and_told_as_internal(self) -> None:
        self.publish(self.session, "p").errback(ZeroDivisionError("secret"))
        (told,) = self.told()
        self.assertEqual(told["code"], "internal")
        self.assertNotIn("secret", told["message"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(self.session.state, State.OPEN)

    def test_what_the_link_refuses_at_once_is_told(self) -> None:
        self.link.publish_error = EncodeError("the type is over 255 bytes")
        self.say(self.session, "publish", id="p", destination="/topic/a", body=1)
        self.assertEqual(self.told()[0]["code"], "bad_frame")

    def test_the_policy_and_the_limits_decide_before_the_link_sees_it(self) -> None:
        for code, fields in (
            ("forbidden", {"destination": "/exchange/x/a", "body": 1}),
            ("forbidden", {"destination": "/queue/twbridge.task.add", "body": 1}),
            ("too_large", {"destination": "/topic/a", "body": "x" * 1001}),
            ("forbidden", {"destination": "/topic/a", "body": 1, "headers": {"CC": ["b"]}}),
            ("bad_destination", {"destination": "/task/add", "body": 1}),
        ):
            self.say(self.session, "publish", id="p", **fields)
            self.assertEqual(self.told()[0]["code"], code)
        self.assertEqual(self.link.published, [])

    def test_answers_after_the_end_are_dropped(self) -> None:
        answers = [self.publish(self.session, "p"), self.publish(self.session, "q")]
        self.session.lost()
        answers[0].callback(None)
        answers[1].errback(Nacked())
        self.assertEqual(self.told(), [])


class PausingTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.json()

    def test_reading_is_paused_while_too_many_answers_are_due(self) -> None:
        answers = [self.publish(self.session, f"p{number}") for number in range(6)]
        self.assertFalse(self.transport.reading)
        for answer in answers[:3]:
            answer.callback(None)
        self.assertFalse(self.transport.reading)
        answers[3].errback(Nacked())
        self.assertTrue(self.transport.reading)

    def test_reading_is_paused_while_the_link_is_full(self) -> None:
        self.link.pressed = True
        self.publish(self.session, "p")
        self.assertFalse(self.transport.reading)
        self.link.press(False)
        self.assertTrue(self.transport.reading)

    def test_who_does_not_publish_is_read_on(self) -> None:
        self.link.press(True)
        self.say(self.session, "ping")
        self.assertTrue(self.transport.reading)

    def test_with_two_reasons_both_must_go(self) -> None:
        self.link.pressed = True
        answers = [self.publish(self.session, f"p{number}") for number in range(4)]
        self.link.press(False)
        self.assertFalse(self.transport.reading)
        for answer in answers:
            answer.callback(None)
        self.assertTrue(self.transport.reading)

    def test_one_that_is_gone_is_not_read_again(self) -> None:
        self.link.pressed = True
        answers = [self.publish(self.session, f"p{number}") for number in range(4)]
        self.session.lost()
        self.link.press(False)
        for answer in answers:
            answer.callback(None)
        self.assertFalse(self.transport.reading)


class ResendingTests(SessionCase):
    """A session with ``?client=<UUID>``."""

    client = "0b9c1a50-5c0e-4b1f-9c39-55e6d7f4c1aa"

    def setUp(self) -> None:
        super().setUp()
        self.session = self.json(client=self.client)
        self.told()

    def again(self) -> None:
        """The client comes back with the same UUID."""
        self.session.lost()
        self.session = self.json(client=self.client)
        self.told()

    def send(self, identity: Any, **fields: Any) -> None:
        self.say(self.session, "publish", id=identity, destination="/topic/a", body=1, **fields)

    def test_a_repeated_publish_is_answered_and_not_applied(self) -> None:
        self.publish(self.session, "p").callback(None)
        self.again()
        self.send("p")
        self.assertEqual(self.told(), [{"op": "published", "id": "p"}])
        self.assertEqual(len(self.link.published), 1)

    def test_one_whose_answer_is_due_gets_that_answer(self) -> None:
        answer = self.publish(self.session, "p")
        self.again()
        self.send("p")
        self.assertEqual(self.told(), [])
        answer.errback(Nacked())
        [told] = self.told()
        self.assertEqual((told["id"], told["code"]), ("p", "nacked"))

    def test_after_an_unknown_outcome_it_is_published_again(self) -> None:
        self.publish(self.session, "p").errback(OutcomeUnknown("lost"))
        self.assertEqual(self.told()[0]["code"], "unknown")
        self.send("p")
        self.assertEqual(len(self.link.published), 2)

    def test_consumers_can_tell_it_by_its_message_id(self) -> None:
        self.send("p")
        self.send(7, properties={"message_id": "mine"})
        self.send(None)
        found = [each.properties.get("message_id") for each in self.link.published]
        self.assertEqual(found, [f"{self.client}/p", "mine", None])

    def test_an_id_that_is_too_long_for_that_is_refused(self) -> None:
        self.send("x" * 255)
        [told] = self.told()
        self.assertEqual(
            (told["code"], told["message"]),
            ("too_large", "With ?client= the id of a publish has at most 218 bytes."),
        )
        self.assertEqual(self.link.published, [])

    def test_a_refusal_of_ours_is_decided_again(self) -> None:
        self.say(self.session, "publish", id="p", destination="/task/a", body=1)
        self.assertEqual(self.told()[0]["code"], "bad_destination")
        self.send("p")
        self.assertEqual(len(self.link.published), 1)

    def test_answers_that_come_at_once_count_for_the_pause(self) -> None:
        self.publish(self.session, "p").callback(None)
        for _ in range(10):
            self.send("p")
        self.assertTrue(self.transport.reading)

    def test_without_the_uuid_nothing_is_remembered(self) -> None:
        session = self.json()
        self.publish(session, "p").callback(None)
        self.publish(session, "p")
        self.assertEqual(len(self.link.published), 2)
        self.assertNotIn("message_id", self.link.published[0].properties)
