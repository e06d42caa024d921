"""The settings of the examples, in use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.bare_socket import BareSocket
from tests.integration.bridge import Bridge
from twbridge.daemon.doubts import warnings
from twbridge.daemon.loading import load

ROOT = Path(__file__).parent.parent.parent
CHAT = ROOT / "examples" / "chat.toml"


class ChatTests(SynchronousTestCase):
    """``examples/chat.toml``, which ``make run`` starts."""

    def test_it_has_no_mistake(self) -> None:
        self.assertEqual(warnings(load(None, {}, str(CHAT)).settings), [])

    def test_make_run_starts_it(self) -> None:
        (command,) = re.findall(r"twistd .*", (ROOT / "Makefile").read_text())
        self.assertIn("--embedded --config examples/chat.toml", command)

    def test_what_was_said_before_is_read_again(self) -> None:
        bridge = Bridge("--embedded", "--config", str(CHAT))
        self.addCleanup(bridge.close)
        bridge.start()
        talker = BareSocket(bridge.url())
        self.addCleanup(talker.close)
        for number in range(3):
            talker.send(1, b"line %d" % number)
            self.assertEqual(talker.frame(), (0x81, b"line %d" % number))
        reader = BareSocket(bridge.url(), "v1.twbridge.json")
        self.addCleanup(reader.close)

        def heard() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(reader.frame()[1])
            return found

        self.assertEqual(heard()["op"], "welcome")
        reader.send(
            1, b'{"op":"subscribe","id":1,"destination":"/stream/chat-history","from":"offset=1"}'
        )
        self.assertEqual(heard()["op"], "subscribed")
        for offset in (1, 2):
            message = heard()
            self.assertEqual((message["offset"], message["body"]), (offset, f"line {offset}"))
        self.assertEqual(bridge.stop(), 0)
        self.assertNotIn("Traceback", bridge.log)
