"""What the tests of publishing have in common."""

from __future__ import annotations

from typing import Any

from tests.link.cases import LinkCase
from twbridge.amqp import Link


class PublisherCase(LinkCase):
    """A link whose pressure is watched."""

    def link(self, **options: Any) -> Link:
        link = super().link(**options)
        self.pressure: list[bool] = []
        link.on_pressure(self.pressure.append)
        return link

    def warm(self, link: Link, exchange: str = "e") -> int:
        """Publish and confirm one message, so that the exchange has a channel; return that."""
        done = link.publish(exchange, "warm", b"")
        self.broker.pump()
        session, channel = self.publishing, self.publishing.published[-1].channel
        session.ack(channel, session.tag_of(session.published[-1]))
        self.successResultOf(done)
        self.pressure.clear()
        return channel

    def bodies(self) -> list[bytes]:
        """What the broker has been sent on the present connection."""
        self.broker.pump()
        return [each.body for each in self.publishing.published]

    def publish(self, link: Link, *bodies: bytes, exchange: str = "e", **more: Any) -> list[Any]:
        deferreds = [link.publish(exchange, "k", body, **more) for body in bodies]
        for done in deferreds:  # those that the test leaves open
            self.addCleanup(done.addErrback, lambda _: None)
        self.broker.pump()
        return deferreds
