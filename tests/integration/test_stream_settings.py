"""The streams of the settings, on both brokers."""

from __future__ import annotations

import uuid

from tests.integration import witness
from tests.integration.bridge_cases import OnEmbedded
from tests.integration.rabbitmq import in_thread
from tests.integration.subscription_cases import SubscriptionCase

NAME = f"test.settings.{uuid.uuid4()}"
TOML = f"""
[[exchange]]
name = "{NAME}"

[[stream]]
name = "{NAME}"
max_age = "7D"
max_bytes = 8_000_000
bindings = ["/exchange/{NAME}/news.%23", "/topic/{NAME}.*"]
"""
ARGUMENTS = {
    "x-queue-type": "stream",
    "x-max-age": "7D",
    "x-max-length-bytes": 8_000_000,
    "x-stream-max-segment-size-bytes": 1_000_000,
}


class StreamSettingsScenarios(SubscriptionCase):
    """What ``[[stream]]`` makes."""

    __test__ = False
    toml = TOML

    async def test_a_stream_is_there_with_its_retention_and_keeps_what_it_is_bound_to(self) -> None:
        # The same declaration as another client's: with any other argument it is refused.
        await in_thread(witness.declare, self.node.url(), NAME, arguments=ARGUMENTS)
        client = await self.json()
        for destination in (
            f"/exchange/{NAME}/news.a.b",
            f"/exchange/{NAME}/other",
            f"/topic/{NAME}.x",
            f"/stream/{NAME}",
        ):
            await client.publish(destination, destination)
        await client.subscribe(f"/stream/{NAME}", **{"from": "first"})
        self.assertEqual(
            await client.bodies(3),
            [f"/exchange/{NAME}/news.a.b", f"/topic/{NAME}.x", f"/stream/{NAME}"],
        )


class StreamSettingsTests(StreamSettingsScenarios):
    """On RabbitMQ."""

    __test__ = True

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            super().tearDownClass()
        finally:
            witness.delete(cls.node.url(), NAME)

    async def test_one_that_exists_with_other_arguments_is_used_and_bound(self) -> None:
        name = await self.stream(**{"x-max-age": "1h"})
        toml = f'[[stream]]\nname = "{name}"\nmax_age = "7D"\nbindings = ["/topic/{name}"]'
        bridge = await self.another(toml=toml)
        client = await self.json(bridge)
        await client.publish(f"/topic/{name}", "kept")
        await client.subscribe(f"/stream/{name}", **{"from": "first"})
        self.assertEqual(await client.bodies(1), ["kept"])
        self.assertRegex(bridge.log, rf"As it exists, the queue {name} is used: .*x-max-age")


class StreamSettingsOnEmbeddedTests(OnEmbedded, StreamSettingsScenarios):
    """On the embedded broker."""

    __test__ = True
