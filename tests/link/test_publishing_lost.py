"""Who publishes without confirms learns exactly when that may have been in vain."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from tests.link.cases import LinkCase
from twbridge.amqp import Link


class PublishingLostTests(LinkCase):
    """`Link.on_publishing_lost`."""

    def setUp(self) -> None:
        super().setUp()
        #: The state of the link each time.
        self.lost: list[str] = []

    def watched(self) -> Link:
        """A link that is listened to."""
        link = self.link()
        link.on_publishing_lost(lambda: self.lost.append(link.state))
        return link

    def test_it_is_told_once_for_each_loss(self) -> None:
        self.watched()
        for times in (1, 2):
            self.publishing.drop()
            self.assertEqual(len(self.lost), times)
            self.pass_time(5)
        self.assertEqual(len(self.lost), 2)

    def test_whatever_the_state_is(self) -> None:
        self.watched()
        self.broker.hanging.add("broker")
        self.consuming.drop()
        self.pass_time(1)
        self.publishing.drop()
        self.assertEqual(self.lost, ["connecting"])
        self.broker.hanging.clear()

    def test_the_loss_of_another_connection_is_none(self) -> None:
        link = self.watched()
        self.consuming.drop()
        self.pass_time(5)
        self.assertEqual((link.state, self.lost), ("ready", []))

    def test_nor_is_an_attempt_that_fails(self) -> None:
        link = self.watched()
        self.broker.unreachable.add("broker")
        self.publishing.drop(ConnectionLost())
        self.pass_time(20)
        self.assertEqual((link.state, len(self.lost)), ("connecting", 1))

    def test_nor_its_own_end(self) -> None:
        link = self.watched()
        link.stop()
        self.pass_time(5)
        self.assertEqual((link.state, self.lost), ("closed", []))

    def test_what_is_published_when_it_is_told_goes_over_the_next_one(self) -> None:
        link = self.link()
        forget = link.on_publishing_lost(
            lambda: link.publish("e", "k", b"again", confirm=False) and None
        )
        self.publishing.drop()
        forget()
        self.pass_time(5)
        self.assertEqual([each.body for each in self.publishing.published], [b"again"])
        self.publishing.drop()
        self.pass_time(5)
        self.assertEqual(self.publishing.published, [])
