"""An AMQP 0-9-1 broker in the same process, for one machine: it keeps nothing.

It answers as RabbitMQ does, in its words, for what it has: the four exchange types, bindings,
classic and quorum queues, streams, confirms, returns, prefetch, acknowledgements, message TTL, dead
letters, priorities. What it leaves out is refused where it is declared; docs/embedded.md lists that
and the differences. How its streams differ from RabbitMQ's is in ``streams.py``.

``messages ready lifetimes deadletters queues quorum log streams exchanges making vhost`` hold,
``consumers readers channel connection`` talk (all sans-I/O), ``protocol embedded`` are Twisted.
"""

from twbridge.broker.embedded import EmbeddedBroker
from twbridge.broker.limits import Limits

__all__ = ["EmbeddedBroker", "Limits"]
