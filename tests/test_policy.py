"""Who may do what."""

from __future__ import annotations

from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from twbridge import policy as policies
from twbridge.destinations import parse
from twbridge.errors import Forbidden, SettingsError
from twbridge.link.topology import Queue
from twbridge.policy import Operation, Peer, Policy
from twbridge.reply_addresses import ReplyAddresses

LOCAL = Peer(None, True, "127.0.0.1")
REMOTE = Peer(None, False, "192.0.2.1")


class Allow(NamedTuple):
    operation: str
    destination: str


class PolicyTests(SynchronousTestCase):
    def allowed(
        self, policy: Policy, operation: Operation, destination: str, peer: Peer = REMOTE
    ) -> bool:
        try:
            policy.check(operation, parse(destination), peer)
        except Forbidden as error:
            self.assertEqual(error.code, "forbidden")
            return False
        return True

    def test_without_rules_everything_is_allowed_on_loopback_and_nothing_elsewhere(self) -> None:
        policy = Policy([])
        self.assertTrue(policy.empty)
        self.assertTrue(self.allowed(policy, "publish", "/queue/a", LOCAL))
        self.assertFalse(self.allowed(policy, "publish", "/queue/a", REMOTE))
        with self.assertRaisesRegex(Forbidden, r"write \[\[allow\]\] rules\.$") as caught:
            policy.check("publish", parse("/queue/a"), REMOTE)
        # It fits into the reason of a close frame.
        self.assertLess(len(str(caught.exception)), 124)

    def test_with_rules_loopback_is_like_any_other(self) -> None:
        policy = Policy([Allow("publish", "/queue/a")])
        self.assertFalse(policy.empty)
        self.assertTrue(self.allowed(policy, "publish", "/queue/a", LOCAL))
        self.assertFalse(self.allowed(policy, "publish", "/queue/b", LOCAL))

    def test_a_rule_is_for_its_operation_only(self) -> None:
        policy = Policy([Allow("subscribe", "/topic/#")])
        self.assertTrue(self.allowed(policy, "subscribe", "/topic/a"))
        self.assertFalse(self.allowed(policy, "publish", "/topic/a"))
        self.assertFalse(self.allowed(policy, "call", "/task/a"))

    def test_calls_take_a_rule_of_their_own(self) -> None:
        self.assertTrue(self.allowed(Policy([]), "call", "/task/add", LOCAL))
        self.assertFalse(self.allowed(Policy([]), "call", "/task/add", REMOTE))
        policy = Policy([Allow("call", "/task/math.*")])
        self.assertTrue(self.allowed(policy, "call", "/task/math.add"))
        self.assertFalse(self.allowed(policy, "call", "/task/add"))
        self.assertFalse(self.allowed(policy, "call", "/task/twbridge.x"))

    def test_a_subscription_must_not_reach_past_its_rule(self) -> None:
        policy = Policy([Allow("subscribe", "/topic/chat.#")])
        for destination in ("/topic/chat.#", "/topic/chat", "/topic/chat.*.a"):
            self.assertTrue(self.allowed(policy, "subscribe", destination), destination)
        for destination in ("/topic/#", "/topic/*", "/topic/*.a", "/topic/news", "/queue/chat"):
            self.assertFalse(self.allowed(policy, "subscribe", destination), destination)

    def test_a_publish_needs_its_key_to_match(self) -> None:
        policy = Policy([Allow("publish", "/exchange/news/*.eu"), Allow("publish", "/exchange/x")])
        self.assertTrue(self.allowed(policy, "publish", "/exchange/news/a.eu"))
        self.assertTrue(self.allowed(policy, "publish", "/exchange/news/%2A.eu"))
        self.assertFalse(self.allowed(policy, "publish", "/exchange/news/a.b.eu"))
        self.assertTrue(self.allowed(policy, "publish", "/exchange/x"))
        self.assertFalse(self.allowed(policy, "publish", "/exchange/x/a"))

    def test_the_topic_kind_is_the_exchange_amq_topic(self) -> None:
        policy = Policy([Allow("publish", "/topic/a"), Allow("publish", "/exchange/amq.topic/b")])
        self.assertTrue(self.allowed(policy, "publish", "/exchange/amq.topic/a"))
        self.assertTrue(self.allowed(policy, "publish", "/topic/b"))

    def test_a_star_in_a_name_stands_for_any_characters(self) -> None:
        policy = Policy([Allow("publish", "/queue/in.*.x"), Allow("publish", "/queue/lit%2A")])
        self.assertTrue(self.allowed(policy, "publish", "/queue/in.a/b.x".replace("a/b", "a%2Fb")))
        self.assertFalse(self.allowed(policy, "publish", "/queue/in.a"))
        self.assertTrue(self.allowed(policy, "publish", "/queue/lit%2A"))
        self.assertFalse(self.allowed(policy, "publish", "/queue/literal"))

    def test_reserved_names_need_the_settings_and_a_rule(self) -> None:
        rules = [Allow("publish", "/exchange/*/#"), Allow("publish", "/queue/*")]
        policy = Policy(rules, ["twbridge.chat"])
        self.assertTrue(self.allowed(policy, "publish", "/exchange/twbridge.chat/chat"))
        self.assertFalse(self.allowed(policy, "publish", "/exchange/twbridge.dlx/chat"))
        self.assertFalse(self.allowed(policy, "publish", "/queue/twbridge.task.add"))
        self.assertFalse(self.allowed(Policy([]), "publish", "/queue/twbridge.x", LOCAL))
        self.assertTrue(
            self.allowed(Policy([], ["twbridge.chat"]), "publish", "/exchange/twbridge.chat", LOCAL)
        )

    def test_direct_reply_to_addresses_are_nobodys(self) -> None:
        policy = Policy([Allow(each, "/queue/*") for each in ("subscribe", "publish")])
        for name in ("amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.a.b"):
            for operation in ("subscribe", "publish"):
                self.assertFalse(self.allowed(policy, operation, f"/queue/{name}"))
                self.assertFalse(self.allowed(Policy([]), operation, f"/queue/{name}", LOCAL))
                self.assertFalse(self.allowed(Policy([]), operation, f"/amq/queue/{name}", LOCAL))

    def test_who_was_given_such_an_address_may_answer_without_a_rule(self) -> None:
        addresses = ReplyAddresses()
        self.patch(policies, "given", addresses)
        addresses.give(b"amq.rabbitmq.reply-to.a.b")
        for policy in (Policy([]), Policy([Allow("publish", "/topic/#")])):
            self.assertTrue(
                self.allowed(policy, "publish", "/reply-queue/amq.rabbitmq.reply-to.a.b")
            )
            refused: list[tuple[Operation, str, str]] = [
                ("publish", "reply-queue", "amq.rabbitmq.reply-to.a.c"),
                ("publish", "queue", "amq.rabbitmq.reply-to.a.b"),
                ("subscribe", "reply-queue", "amq.rabbitmq.reply-to.a.b"),
            ]
            for operation, kind, name in refused:
                self.assertFalse(self.allowed(policy, operation, f"/{kind}/{name}", LOCAL))

    def test_a_name_means_nothing_else_to_the_broker(self) -> None:
        """It drops line breaks from the names of queues."""
        policy = Policy([Allow("subscribe", "/queue/*")])
        for name in ("twbridge%0A.task.add", "twbridge%0D.task.add", "a%0D%0Ab"):
            self.assertFalse(self.allowed(policy, "subscribe", f"/queue/{name}"))
            self.assertFalse(self.allowed(Policy([]), "subscribe", f"/queue/{name}", LOCAL))

    def test_a_bad_rule_is_one_line_that_names_its_key(self) -> None:
        good = Allow("publish", "/queue/a")
        error = self.assertRaises(SettingsError, Policy, [good, Allow("shout", "/queue/a")])
        self.assertIn("allow[1].operation", str(error))
        error = self.assertRaises(SettingsError, Policy, [Allow("publish", "/nowhere/a")])
        self.assertIn("allow[0].destination", str(error))


class AnonymousTests(SynchronousTestCase):
    """Who is nobody in particular."""

    def test_is_a_client_where_something_may_be_allowed(self) -> None:
        for rules, peer in (([], LOCAL), ([Allow("publish", "/queue/a")], REMOTE)):
            Policy(rules).check_anonymous(peer)
        self.assertRaises(Forbidden, Policy([]).check_anonymous, REMOTE)


class QueueTests(SynchronousTestCase):
    """Queues that a subscription or a publish has declared."""

    def allowed(
        self, rules: list[tuple[str, str]], name: str, to: str = "/topic/a", **arguments: str
    ) -> bool:
        found = {f"x-dead-letter-{key.replace('_', '-')}": text for key, text in arguments.items()}
        policy = Policy([Allow(*rule) for rule in rules])
        try:
            policy.check_queue(Queue(name, arguments=found), parse(to), REMOTE)
        except Forbidden as error:
            self.assertTrue(error.public)
            return False
        return True

    def test_a_name_takes_the_right_to_read_it_and_none_takes_nothing(self) -> None:
        rules = [("subscribe", "/queue/mine.*")]
        self.assertTrue(self.allowed(rules, ""))
        self.assertTrue(self.allowed(rules, "mine.1", "/queue/mine.1"))
        self.assertFalse(self.allowed(rules, "yours", "/queue/yours"))

    def test_a_name_that_is_bound_takes_the_right_to_publish_to_it_too(self) -> None:
        read = ("subscribe", "/queue/mine.*")
        write = ("publish", "/queue/mine.1")
        for to in ("/topic/a", "/exchange/e/a"):
            self.assertFalse(self.allowed([read], "mine.1", to))
            self.assertFalse(self.allowed([write], "mine.1", to))
            self.assertTrue(self.allowed([read, write], "mine.1", to))
            self.assertFalse(self.allowed([read, write], "mine.2", to))

    def test_those_of_durable_subscriptions_come_with_the_topic_and_with_no_exchange(self) -> None:
        self.assertTrue(self.allowed([("publish", "/topic/x")], "stomp-subscription-x"))
        for rules, allowed in (([], False), ([("subscribe", "/queue/stomp-*")], True)):
            found = [("publish", "/topic/x"), *rules]
            self.assertIs(self.allowed(found, "stomp-subscription-x", "/exchange/e/a"), allowed)

    def test_reserved_names_are_refused(self) -> None:
        for name in ("twbridge.reply.x", "twbridge.task.x"):
            self.assertFalse(self.allowed([("subscribe", "/queue/*")], name))

    def test_dead_letters_take_the_right_to_publish_them(self) -> None:
        rules = [("publish", "/exchange/dlx/a.*"), ("publish", "/queue/dead.*")]
        for key, allowed in (("a.b", True), ("a", False), ("b.a", False)):
            self.assertIs(self.allowed(rules, "", exchange="dlx", routing_key=key), allowed)
        for key, allowed in (("dead.1", True), ("jobs", False), ("twbridge.x", False)):
            self.assertIs(self.allowed(rules, "", exchange="", routing_key=key), allowed)
        self.assertFalse(self.allowed(rules, "", exchange="other", routing_key="a.b"))
        self.assertTrue(self.allowed(rules, "", routing_key="no exchange"))

    def test_no_dead_letter_is_a_direct_reply(self) -> None:
        rules = [("publish", "/queue/*")]
        self.assertFalse(
            self.allowed(rules, "", exchange="", routing_key="amq.rabbitmq.reply-to.a.b")
        )

    def test_no_client_chooses_the_queue_of_dead_letters_by_their_keys(self) -> None:
        queue = Queue("", arguments={"x-dead-letter-exchange": ""})
        for rules in ([], [Allow("publish", "/exchange/*/#"), Allow("publish", "/queue/*")]):
            check = Policy(rules).check_queue
            self.assertRaises(Forbidden, check, queue, parse("/topic/a"), LOCAL)

    def test_those_that_keep_their_keys_take_a_rule_for_every_key(self) -> None:
        for pattern, allowed in (
            ("#", True),
            ("#.#", True),
            ("*", False),
            ("*.*", False),
            ("a.#", False),
        ):
            rules = [("publish", f"/exchange/dlx/{pattern}")]
            self.assertIs(self.allowed(rules, "", exchange="dlx"), allowed, pattern)
        self.assertFalse(self.allowed([("publish", "/queue/*")], "", exchange=""))

    def test_without_rules_all_is_open_on_loopback_and_nothing_elsewhere(self) -> None:
        arguments = {"x-dead-letter-exchange": "dlx"}
        for queue in (Queue("q"), Queue(arguments=arguments)):
            Policy([]).check_queue(queue, parse("/topic/a"), LOCAL)
            self.assertRaises(Forbidden, Policy([]).check_queue, queue, parse("/topic/a"), REMOTE)

    def test_answers_may_be_sent_to_who_asked_without_a_rule(self) -> None:
        policy = Policy([Allow("publish", "/reply-queue/free.*")])
        for name, allowed in (("twbridge.reply.x", True), ("free.x", True), ("other", False)):
            destination = parse(f"/reply-queue/{name}")
            if allowed:
                policy.check("publish", destination, REMOTE)
            else:
                self.assertRaises(Forbidden, policy.check, "publish", destination, REMOTE)
        self.assertRaises(
            Forbidden, policy.check, "publish", parse("/queue/twbridge.reply.x"), REMOTE
        )
