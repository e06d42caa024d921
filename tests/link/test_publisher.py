"""Publishing: what becomes of each message is told, once."""

from __future__ import annotations

import time
from typing import Any

from pamqp import commands
from twisted.internet.defer import Deferred

from tests.link.publisher_case import PublisherCase
from twbridge.errors import (
    Nacked,
    Unroutable,
)


class OutcomeTests(PublisherCase):
    """The Deferred of a publish fires when the broker has said what became of it."""

    def test_nothing_is_said_before_the_confirm(self) -> None:
        link = self.link()
        [done] = self.publish(link, b"x")
        self.assertNoResult(done)
        self.publishing.ack(self.publishing.published[0].channel, 1)
        self.assertIsNone(self.successResultOf(done))

    def test_the_message_is_sent_as_it_was_given(self) -> None:
        link = self.link()
        body = b"caf\xc3\xa9\x00\xff"
        done = link.publish("e", "é.k", body, {"headers": {"a": [1, None]}})
        done.addErrback(lambda _: None)
        self.broker.pump()
        [sent] = self.publishing.published
        self.assertEqual((sent.method.exchange, sent.method.routing_key), ("e", "é.k"))
        self.assertEqual(sent.body, body)
        self.assertEqual(sent.headers, {"a": [1, None]})
        self.assertFalse(sent.method.mandatory)
        self.assertFalse(sent.method.immediate)

    def test_confirms_in_any_order_go_to_their_own_messages(self) -> None:
        link = self.link()
        channel = self.warm(link)
        one, two, three = self.publish(link, b"1", b"2", b"3")
        self.publishing.ack(channel, 4)
        self.assertIsNone(self.successResultOf(three))
        self.publishing.nack(channel, 2)
        self.failed(one, Nacked)
        self.assertNoResult(two)
        self.publishing.ack(channel, 3)
        self.assertIsNone(self.successResultOf(two))

    def test_a_multiple_ack_is_for_all_up_to_its_tag(self) -> None:
        link = self.link()
        channel = self.warm(link)
        deferreds = self.publish(link, b"1", b"2", b"3", b"4")
        self.publishing.ack(channel, 3)
        self.publishing.ack(channel, 4, multiple=True)
        for done in deferreds[:3]:
            self.assertIsNone(self.successResultOf(done))
        self.assertNoResult(deferreds[3])
        self.publishing.ack(channel, 5, multiple=True)
        self.assertIsNone(self.successResultOf(deferreds[3]))

    def test_a_multiple_nack_is_for_all_up_to_its_tag(self) -> None:
        link = self.link()
        channel = self.warm(link)
        deferreds = self.publish(link, b"1", b"2", b"3")
        self.publishing.nack(channel, 3, multiple=True)
        self.failed(deferreds[0], Nacked)
        self.failed(deferreds[1], Nacked)
        self.assertNoResult(deferreds[2])

    def test_tag_zero_and_multiple_is_for_all_that_were_sent(self) -> None:
        link = self.link()
        channel = self.warm(link)
        deferreds = self.publish(link, b"1", b"2")
        self.publishing.ack(channel, 0, multiple=True)
        for done in deferreds:
            self.assertIsNone(self.successResultOf(done))

    def test_a_confirm_for_nothing_changes_nothing(self) -> None:
        link = self.link()
        channel = self.warm(link)
        for tag in (1, 7):
            self.publishing.ack(channel, tag)
            self.publishing.nack(channel, tag)
        self.publishing.ack(channel, 1000, multiple=True)
        self.publishing.ack(99, 1)
        one, two = self.publish(link, b"1", b"2")
        self.publishing.ack(channel, 2)
        self.assertIsNone(self.successResultOf(one))
        self.assertNoResult(two)
        self.publishing.ack(channel, 3, multiple=True)
        self.assertIsNone(self.successResultOf(two))

    def test_confirms_of_one_exchange_are_not_those_of_another(self) -> None:
        link = self.link()
        a, b = self.warm(link, "a"), self.warm(link, "b")
        self.assertNotEqual(a, b)
        [on_a] = self.publish(link, b"1", exchange="a")
        [on_b] = self.publish(link, b"2", exchange="b")
        self.publishing.ack(b, 2)
        self.assertIsNone(self.successResultOf(on_b))
        self.assertNoResult(on_a)
        self.publishing.ack(a, 2)
        self.successResultOf(on_a)

    def test_a_caller_that_cancels_does_not_disturb_the_rest(self) -> None:
        link = self.link()
        channel = self.warm(link)
        one, two = self.publish(link, b"1", b"2")
        one.addErrback(lambda _: "cancelled")
        one.cancel()
        self.publishing.ack(channel, 3, multiple=True)
        self.assertEqual(self.successResultOf(one), "cancelled")
        self.assertIsNone(self.successResultOf(two))

    def test_without_confirmations_written_is_success(self) -> None:
        link = self.link(confirmations=False, window=1)
        deferreds = self.publish(link, b"1", b"2", b"3")
        self.assertEqual(self.bodies(), [b"1", b"2", b"3"])
        for done in deferreds:
            self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.publishing.methods(commands.Confirm.Select), [])
        self.assertFalse(link.pressed)

    def test_without_a_confirm_written_is_success_beside_others_that_are_confirmed(self) -> None:
        link = self.link()
        [confirmed] = self.publish(link, b"1")
        [plain] = self.publish(link, b"2", confirm=False)
        self.assertIsNone(self.successResultOf(plain))
        self.assertNoResult(confirmed)
        first, second = self.publishing.published
        self.assertNotEqual(first.channel, second.channel)
        self.assertEqual(second.method.exchange, "e")
        self.publishing.ack(first.channel, 1)
        self.assertIsNone(self.successResultOf(confirmed))

    def test_no_name_of_an_exchange_leads_to_the_channel_of_another(self) -> None:
        link = self.link()
        names = ["", "\0", "\0\0", "False", "e"]
        sent = [
            link.publish(name, "k", b"", confirm=confirm)
            for name in names
            for confirm in (False, True)
        ]
        self.broker.pump()
        published = self.publishing.published
        self.assertEqual(len(published), len(sent))
        self.assertEqual(sorted(each.method.exchange for each in published), sorted(2 * names))
        self.assertEqual(len({each.channel for each in published}), len(sent))
        for plain, confirmed in zip(sent[::2], sent[1::2], strict=True):
            self.successResultOf(plain)
            self.assertNoResult(confirmed)
            confirmed.addErrback(lambda _: None)

    def test_without_a_confirm_it_waits_for_the_link_all_the_same(self) -> None:
        link = self.link()
        self.publishing.drop()
        [plain] = self.publish(link, b"1", confirm=False)
        self.assertNoResult(plain)
        self.pass_time(5)
        self.assertIsNone(self.successResultOf(plain))

    def test_without_a_confirm_a_return_is_told_to_who_listens_for_all(self) -> None:
        link = self.link()
        returned: list[bytes] = []
        link.on_return(lambda content: returned.append(content.body))
        [plain] = self.publish(link, b"1", confirm=False, mandatory=True)
        self.publishing.give_back(self.publishing.published[-1])
        self.broker.pump()
        self.assertIsNone(self.successResultOf(plain))
        self.assertEqual(returned, [b"1"])


class ReturnTests(PublisherCase):
    """A mandatory message that no queue took is Unroutable, and only that one."""

    def setUp(self) -> None:
        super().setUp()
        self.mandatory_link = self.link()
        self.channel = self.warm(self.mandatory_link)
        self.returned: list[Any] = []
        self.mandatory_link.on_return(self.returned.append)

    def send(self, *bodies: bytes, **properties: Any) -> list[Deferred[None]]:
        return self.publish(self.mandatory_link, *bodies, properties=properties, mandatory=True)

    def test_it_is_unroutable_with_the_words_of_the_broker(self) -> None:
        one, two = self.send(b"1", b"2")
        self.assertTrue(self.publishing.published[-1].method.mandatory)
        self.publishing.give_back(self.publishing.published[-1])
        self.publishing.ack(self.channel, 3, multiple=True)
        self.assertIsNone(self.successResultOf(one))
        error = self.failed(two, Unroutable)
        self.assertEqual((error.reply_code, error.reply_text), (312, "NO_ROUTE"))

    def test_it_is_told_before_the_ack_and_settled_by_it(self) -> None:
        [done] = self.send(b"body")
        self.publishing.give_back(self.publishing.published[-1])
        self.assertEqual([each.body for each in self.returned], [b"body"])
        self.assertEqual(self.returned[0].method.reply_text, "NO_ROUTE")
        self.assertNoResult(done)
        self.publishing.ack(self.channel, 2)
        self.failed(done, Unroutable)
        self.assertEqual(len(self.returned), 1)

    def test_of_equal_messages_the_oldest_is_returned_first(self) -> None:
        one, two, three = self.send(b"1", b"2", b"3", message_id="same")
        sent = self.publishing.published[-3:]
        self.publishing.give_back(sent[0])
        self.publishing.ack(self.channel, 2)
        self.failed(one, Unroutable)
        self.publishing.give_back(sent[1])
        self.publishing.ack(self.channel, 4, multiple=True)
        self.failed(two, Unroutable)
        self.assertIsNone(self.successResultOf(three))

    def test_a_return_is_of_a_mandatory_message_only(self) -> None:
        """Clients choose message ids: equal ones must not hide that a message is lost."""
        same = {"message_id": "same"}
        [plain] = self.publish(self.mandatory_link, b"1", properties=same)
        [wanted] = self.send(b"2", **same)
        self.publishing.give_back(self.publishing.published[-1])
        self.publishing.ack(self.channel, 3, multiple=True)
        self.assertIsNone(self.successResultOf(plain))
        self.failed(wanted, Unroutable)

    def test_equal_messages_may_all_be_returned_before_the_first_ack(self) -> None:
        one, two, three = self.send(b"1", b"2", b"3", message_id="same")
        for sent in self.publishing.published[-3:-1]:
            self.publishing.give_back(sent)
        self.publishing.ack(self.channel, 4, multiple=True)
        self.failed(one, Unroutable)
        self.failed(two, Unroutable)
        self.assertIsNone(self.successResultOf(three))

    def test_messages_that_differ_in_id_or_key_are_told_apart(self) -> None:
        [one] = self.send(b"1", message_id="a")
        [two] = self.send(b"2", message_id="b")
        three = self.mandatory_link.publish("e", "other", b"3", {"message_id": "a"}, mandatory=True)
        self.broker.pump()
        self.publishing.give_back(self.publishing.published[-1])
        self.publishing.give_back(self.publishing.published[-2])
        self.publishing.ack(self.channel, 4, multiple=True)
        self.assertIsNone(self.successResultOf(one))
        self.failed(two, Unroutable)
        self.failed(three, Unroutable)

    def test_a_message_without_an_id_is_matched_as_well(self) -> None:
        [done] = self.send(b"1", message_id=None)
        self.assertNotIn("message_id", self.publishing.published[-1].properties)
        self.publishing.give_back(self.publishing.published[-1])
        self.publishing.ack(self.channel, 2)
        self.failed(done, Unroutable)

    def test_a_return_that_matches_nothing_is_told_and_fails_nothing(self) -> None:
        sent = self.publishing.published[-1]
        [done] = self.send(b"1", message_id="mine")
        self.publishing.give_back(sent)
        self.publishing.ack(self.channel, 2)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(len(self.returned), 1)


class DefaultsTests(PublisherCase):
    """Properties that every message has unless the caller says otherwise."""

    def sent(self, properties: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        self.broker.confirming = True
        name = f"link {len(self.broker.sessions)}"
        link = self.link(name=name, **options)
        done = link.publish("e", "k", b"", properties)
        self.broker.pump()
        self.assertIsNone(self.successResultOf(done))
        return dict(self.broker.named(f"{name} publish").published[-1].properties)

    def test_they_are_durable_named_and_dated(self) -> None:
        before = int(time.time())
        properties = self.sent(app_id="ours")
        self.assertEqual(set(properties), {"delivery_mode", "message_id", "timestamp", "app_id"})
        self.assertEqual((properties["delivery_mode"], properties["app_id"]), (2, "ours"))
        self.assertLessEqual(before, properties["timestamp"])
        self.assertLessEqual(properties["timestamp"], int(time.time()))

    def test_they_never_override_the_callers(self) -> None:
        mine = {
            "delivery_mode": 1,
            "message_id": "mine",
            "timestamp": 7,
            "app_id": "me",
            "content_type": "text/plain",
            "priority": 3,
        }
        self.assertEqual(self.sent(mine), mine)
        self.assertEqual(self.sent({"delivery_mode": 1})["delivery_mode"], 1)

    def test_a_content_type_alone_keeps_the_defaults(self) -> None:
        for kind in ("text/plain; charset=utf-8", "", "é"):
            properties = self.sent({"content_type": kind})
            self.assertEqual(properties.pop("content_type"), kind)
            self.assertEqual(
                set(properties), {"delivery_mode", "message_id", "timestamp", "app_id"}
            )

    def test_none_leaves_a_default_out(self) -> None:
        for name in ("delivery_mode", "message_id", "timestamp", "app_id"):
            self.assertNotIn(name, self.sent({name: None}))
        self.assertNotIn("content_type", self.sent({"content_type": None}))

    def test_the_callers_properties_are_not_changed(self) -> None:
        mine = {"priority": 1, "headers": {"a": 1}}
        self.sent(mine)
        self.assertEqual(mine, {"priority": 1, "headers": {"a": 1}})

    def test_message_ids_are_unique_over_links(self) -> None:
        self.broker.confirming = True
        found = []
        for name in ("one", "two"):
            link = self.link(name=name)
            for number in range(50):
                extra: dict[str, Any] | None = [None, {}, {"priority": 1}, {"content_type": "a"}][
                    number % 4
                ]
                link.publish("e", "k", b"", extra)
            self.broker.pump()
            session = self.broker.named(f"{name} publish")
            found += [each.properties["message_id"] for each in session.published]
        self.assertEqual(len(found), 100)
        self.assertEqual(len(set(found)), 100)
