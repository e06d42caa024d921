"""What each message is given on its way."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import example, given
from twisted.trial.unittest import SynchronousTestCase

from tests.amqp_values import properties
from twbridge.link.lanes import Stamp
from twbridge.wire import decode_properties


class StampTests(SynchronousTestCase):
    @given(properties)
    @example({})
    @example({"content_type": "text/plain"})
    @example({"content_type": None})
    @example({"delivery_mode": None, "headers": {"a": "b"}})
    @example({"priority": 3, "user_id": "guest"})
    @example({"delivery_mode": 1, "timestamp": None, "app_id": None})
    @example({"timestamp": None, "app_id": None})
    @example({"timestamp": 1, "app_id": None})
    def test_the_defaults_go_under_whatever_is_given(self, mine: dict[str, Any]) -> None:
        before = int(time.time())
        message_id, raw = Stamp("ours")(mine)
        found: dict[str, Any] = dict(decode_properties(raw))
        if "timestamp" not in mine:
            self.assertTrue(before <= found.pop("timestamp") <= time.time())
        default = {"delivery_mode": 2, "message_id": message_id, "app_id": "ours"}
        expected = {name: value for name, value in {**default, **mine}.items() if value is not None}
        # Times of the table come back in UTC: the round trip of values is the codec's to test.
        self.assertEqual(set(found), set(expected))
        for name in set(expected) - {"headers"}:
            self.assertEqual(found[name], expected[name])

    def test_each_id_is_another(self) -> None:
        stamp = Stamp("ours")
        ids = [stamp(each)[0] for each in ({}, {"type": "t"}, {"priority": 1}, {})]
        self.assertEqual(len(set(ids)), 4)
