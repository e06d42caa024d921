"""Who may do what."""

from __future__ import annotations

from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from twbridge.destinations import parse
from twbridge.errors import Forbidden, SettingsError
from twbridge.policy import Operation, Peer, Policy

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

    def test_a_bad_rule_is_one_line_that_names_its_key(self) -> None:
        good = Allow("publish", "/queue/a")
        error = self.assertRaises(SettingsError, Policy, [good, Allow("shout", "/queue/a")])
        self.assertIn("allow[1].operation", str(error))
        error = self.assertRaises(SettingsError, Policy, [Allow("publish", "/nowhere/a")])
        self.assertIn("allow[0].destination", str(error))
