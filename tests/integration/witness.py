"""Another client (pika), to see on the broker what our own claims to have done there.

Every function opens a connection of its own and blocks; call it with ``in_thread``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel


@contextlib.contextmanager
def channel(url: str) -> Iterator[BlockingChannel]:
    """A channel with confirms."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
    finally:
        if connection.is_open:
            connection.close()


def declare(url: str, queue: str, **settings: Any) -> str:
    """Declare a queue, durable unless said otherwise; gives its name."""
    with channel(url) as opened:
        return str(opened.queue_declare(queue, **{"durable": True} | settings).method.queue)


def delete(url: str, queue: str) -> None:
    """Delete a queue."""
    with channel(url) as opened:
        opened.queue_delete(queue)


def counts(url: str, queue: str) -> tuple[int, int] | None:
    """How many messages are ready in a queue, and how many consumers it has; None: no such queue.

    A message that was delivered and not acknowledged is not ready.
    """
    with channel(url) as opened:
        try:
            found = opened.queue_declare(queue, passive=True).method
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code == 404:
                return None
            raise
        return found.message_count, found.consumer_count


def publish(
    url: str,
    exchange: str,
    routing_key: str,
    *bodies: bytes,
    properties: Mapping[str, Any] | None = None,
) -> None:
    """Publish, each body as a message that a queue must take."""
    with channel(url) as opened:
        for body in bodies:
            opened.basic_publish(
                exchange,
                routing_key,
                body,
                pika.BasicProperties(**properties or {}),
                mandatory=True,
            )


def drain(url: str, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
    """Take everything out of a queue."""
    found: list[tuple[pika.BasicProperties, bytes]] = []
    with channel(url) as opened:
        while True:
            method, properties, body = opened.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append((properties, body))
