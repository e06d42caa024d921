"""The same task in FastStream, for ``faststream run``; no log line for each message."""

from __future__ import annotations

import os
from typing import Any

from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker

QUEUE = "bench.faststream"

broker = RabbitBroker(
    os.environ["AMQP_URL"], logger=None, default_channel=Channel(prefetch_count=100)
)
app = FastStream(broker, logger=None)


@broker.subscriber(QUEUE)
async def echo(value: dict[str, Any]) -> dict[str, Any]:
    return value
