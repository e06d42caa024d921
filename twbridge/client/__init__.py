"""A client of the bridge for Python programs on Twisted.

::

    from twbridge.client import Client

    async def main(reactor):
        async with Client(reactor, "ws://localhost:8080/ws") as client:
            await client.publish("/topic/orders.new", {"number": 7})
            async for message in client.messages("/queue/jobs"):
                print(message.body)        # acknowledged when the next one is asked for

    task.react(main)

It comes back by itself when the connection is lost: subscribes again, goes on with streams where
they were, and sends what was not confirmed again, which the bridge applies once. Everything is a
Deferred or can be awaited. ``docs/python.md`` has the rest.
"""

from twbridge.client.client import Client, connect
from twbridge.client.errors import NotConnected, Refused
from twbridge.client.iteration import Messages
from twbridge.client.messages import Message
from twbridge.client.ports import Limits, State
from twbridge.client.subscription import Gap, Subscription

__all__ = [
    "Client",
    "Gap",
    "Limits",
    "Message",
    "Messages",
    "NotConnected",
    "Refused",
    "State",
    "Subscription",
    "connect",
]
