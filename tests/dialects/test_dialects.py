"""The dialects of a bridge: its own, and those of plugins."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twbridge.dialects import all_dialects
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.errors import SettingsError


class AllDialectsTests(SynchronousTestCase):
    def test_raw_json_and_stomp_are_built_in_and_plugins_follow(self) -> None:
        class Other(JsonDialect):
            def __init__(self) -> None:
                super().__init__()
                self.subprotocol = "other"

        names = [dialect.subprotocol for dialect in all_dialects([Other()])]
        stomp = ["v12.stomp", "v11.stomp", "v10.stomp"]
        self.assertEqual(names, [None, "v1.twbridge.json", *stomp, "other"])

    def test_a_subprotocol_is_spoken_once(self) -> None:
        for twice in (JsonDialect(), RawDialect()):
            self.assertRaises(SettingsError, all_dialects, [twice])
