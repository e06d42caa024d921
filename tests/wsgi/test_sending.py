"""How the bridge's messages go to workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.wsgi.worker_case import request
from twbridge.amqp import Link
from twbridge.wsgi.messages import UNTIL
from twbridge.wsgi.sending import Sending


class Outbox:
    """A link that keeps what it is given."""

    options = SimpleNamespace(timeout=30.0)

    def __init__(self) -> None:
        self.properties: list[dict[str, Any]] = []

    def publish(self, _exchange: str, _key: str, _body: bytes, properties: Any, **_: Any) -> Any:
        self.properties.append(properties)
        return Deferred()


class UntilTests(SynchronousTestCase):
    """The end of the bridge's patience."""

    def test_it_goes_with_the_request_as_the_time_at_which_that_leaves_the_queue(self) -> None:
        link = Outbox()
        sending = Sending(cast(Link, link), lambda: 1_700_000_000.25)
        for left, expiration in ((30.0, 29_000), (1.0, 500)):
            sending.request("1", "twbridge.wsgi.app", request(), "replies", left)
            properties = link.properties.pop()
            self.assertEqual(properties["expiration"], str(expiration))
            self.assertEqual(properties["headers"], {UNTIL: 1_700_000_000_250 + expiration})
