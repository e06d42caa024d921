"""The dialects of a bridge: its own, and those of plugins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twbridge import commands
from twbridge.dialects import all_dialects
from twbridge.dialects.json import JsonDialect
from twbridge.dialects.raw import RawDialect
from twbridge.errors import SettingsError

PLUGINS = Path(__file__).parent.parent.parent / "docs" / "plugins.md"


class DocumentationTests(SynchronousTestCase):
    """docs/plugins.md tells of all that a dialect reads and writes."""

    def test_each_command_and_event_is_there_with_its_fields(self) -> None:
        text = PLUGINS.read_text().partition("## Another dialect")[2]
        rows = re.findall(r"^\| `([A-Z]\w*)` \| (.*?) \|", text, re.MULTILINE)
        found = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
        self.assertEqual(len(found), len(rows))
        kinds = (*get_args(commands.Command), *get_args(commands.Event))
        self.assertEqual(
            found,
            {
                kind.__name__: tuple(field.name for field in msgspec.structs.fields(kind))
                for kind in kinds
            },
        )


class AllDialectsTests(SynchronousTestCase):
    def test_raw_json_and_stomp_are_built_in_and_plugins_follow(self) -> None:
        class Other(JsonDialect):
            def __init__(self) -> None:
                super().__init__()
                self.subprotocol = "other"

        with capturedLogs() as logged:
            names = [dialect.subprotocol for dialect in all_dialects([Other()])]
        self.assertEqual(
            [(event["log_level"].name, formatEvent(event)) for event in logged],
            [("info", "Dialect other is spoken")],
        )
        stomp = ["v12.stomp", "v11.stomp", "v10.stomp"]
        self.assertEqual(names, [None, "v1.twbridge.json", *stomp, "other"])

    def test_a_subprotocol_is_spoken_once(self) -> None:
        for twice in (JsonDialect(), RawDialect()):
            self.assertRaises(SettingsError, all_dialects, [twice])
