"""The examples of docs/link.md run, against the embedded broker on a loopback port."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twbridge.broker import EmbeddedBroker

reactor: Any = _reactor
DOCUMENT = Path(__file__).parent.parent / "docs" / "link.md"


class LinkDocumentTests(TestCase):
    """Every block that is marked as Python is a program that ends without an error."""

    timeout = 20

    def test_every_example_runs(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._run_all())

    async def _run_all(self) -> None:
        blocks = re.findall(
            r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
        )
        self.assertGreaterEqual(len(blocks), 4)
        broker = EmbeddedBroker(reactor)
        await broker.listen(port=0)
        try:
            for number, block in enumerate(blocks):
                names: dict[str, Any] = {}
                exec(compile(block, f"{DOCUMENT}, example {number}", "exec"), names)
                await names["main"](reactor, broker.url)
        finally:
            await broker.stop()
