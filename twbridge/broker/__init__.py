"""An AMQP 0-9-1 broker in the same process, for one machine: it keeps nothing.

It answers as RabbitMQ does, in its words, for what it has: the four exchange types, bindings,
classic queues, streams, confirms, returns, prefetch, acknowledgements. Not yet: TTL of messages,
dead letters, priorities (declaring them is refused; a message's own ``expiration`` is checked and
has no effect); not at all: transactions, durability, more than one virtual host. How its streams
differ from RabbitMQ's is in ``streams.py``.

``messages queues log streams exchanges vhost`` hold, ``consumers readers channel connection`` talk
(all sans-I/O), ``protocol embedded`` are Twisted.
"""

from twbridge.broker.embedded import EmbeddedBroker
from twbridge.broker.limits import Limits

__all__ = ["EmbeddedBroker", "Limits"]
