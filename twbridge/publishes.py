"""A client's publish, from what it asked to the broker's confirm (sans-I/O).

Screened, allowed, applied once where it is repeated; and its queue declared, where its dialect
promises that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twbridge.commands import Publish
from twbridge.errors import ChannelClosed, Unroutable
from twbridge.link.topology import Queue
from twbridge.policy import Peer
from twbridge.ports import UP, DeclaringLink, Services
from twbridge.resends import message_id
from twbridge.screening import screen
from twbridge.shared import Shared

__all__ = ["Declarer", "check", "publish"]

#: Names of queues that are known to be there. Clients choose them.
KNOWN = 10_000


class Declarer:
    """Declares queues that are published to, once for each connection to the broker.

    A queue that exists is used as it is, whatever its arguments.

    Args:
        link: the way to the broker.
    """

    def __init__(self, link: DeclaringLink) -> None:
        self._link = link
        # Who is first declares it, and the others wait.
        self._queues: OrderedDict[str, Shared] = OrderedDict()
        self._stop = link.on_state(self._changed)

    def stop(self) -> None:
        """Let the link go."""
        self._stop()

    def ensure(self, queue: Queue) -> Shared | None:
        """See to it that the queue is there: its declaration, which fails with ChannelClosed.

        None while the link is down: the publish waits, and finds out.
        """
        known = self._queues.get(queue.name)
        if known is not None:
            self._queues.move_to_end(queue.name)
            return known
        if self._link.state not in UP:
            return None
        attempts = iter((replace(queue, passive=True), queue))
        declared = self._attempt(attempts).addErrback(self._refused, queue.name)
        known = Shared(declared)
        if not known.failed:
            self._queues[queue.name] = known
        if len(self._queues) > KNOWN:
            self._queues.popitem(last=False)
        return known

    def forget(self, queue: Queue, declaration: Shared | None) -> None:
        """What that declaration made is not there any more. A later one stays."""
        if declaration is not None and self._queues.get(queue.name) is declaration:
            del self._queues[queue.name]

    def _attempt(self, attempts: Iterator[Queue]) -> Deferred[None]:
        declared = self._link.declare(next(attempts), remember=False)
        return declared.addErrback(lambda failure: self._again(failure, attempts))

    def _again(self, failure: Failure, attempts: Iterator[Queue]) -> Any:
        error = failure.value
        if isinstance(error, ChannelClosed) and error.reply_code == 404:
            return self._attempt(attempts)
        if isinstance(error, ChannelClosed) and error.reply_code in (405, 406):
            return None  # somebody else has made it
        return failure

    def _refused(self, failure: Failure, name: str) -> Failure:
        self._queues.pop(name, None)
        return failure

    def _changed(self, state: str) -> None:
        if state not in UP:
            self._queues.clear()


def check(command: Publish, peer: Peer, services: Services) -> bool:
    """Return whether to publish it mandatory (``screening.py``); nothing is sent.

    Raises:
        ClientError, EncodeError: it is not to be published.
    """
    mandatory = screen(command, services.limits.message, services.limits.headers)
    services.policy.check("publish", command.destination, peer)
    if command.declare is not None:
        services.policy.check_dead_letters(command.declare, peer)
    return mandatory


def publish(command: Publish, peer: Peer, services: Services, resends: bool) -> Deferred[None]:
    """Publish; fires when the broker has taken responsibility.

    Args:
        command: what is asked. A message id is added, where the client has a UUID.
        peer: who asks.
        services: the link and the rules.
        resends: apply a publish that is repeated once.

    Raises:
        ClientError, EncodeError: it is not to be published.
    """
    destination, client = command.destination, peer.client
    identity = command.id if resends else None
    if client is not None and identity is not None:
        command.properties.setdefault("message_id", message_id(client, identity))
    mandatory = check(command, peer, services)
    if client is None or identity is None:
        return _send(command, services, mandatory)
    content = (destination.exchange, destination.routing_key, command.body)
    send = partial(_send, command, services, mandatory)
    return services.resends.publish(peer.user, client, identity, content, send)


def _send(command: Publish, services: Services, mandatory: bool) -> Deferred[None]:
    """Declare, then send; and once more where the queue was deleted since it was declared."""
    queue = command.declare
    if queue is None:
        return _publish(None, command, services, mandatory)
    declaration = services.declarer.ensure(queue)
    sent = _declared(declaration, command, services, mandatory)
    return sent.addErrback(_send_again, queue, declaration, command, services, mandatory)


def _send_again(
    failure: Failure,
    queue: Queue,
    declaration: Shared | None,
    command: Publish,
    services: Services,
    mandatory: bool,
) -> Deferred[None]:
    failure.trap(Unroutable)
    services.declarer.forget(queue, declaration)
    return _declared(services.declarer.ensure(queue), command, services, mandatory)


def _declared(
    declaration: Shared | None, command: Publish, services: Services, mandatory: bool
) -> Deferred[None]:
    if declaration is None or declaration.succeeded:
        return _publish(None, command, services, mandatory)
    return declaration.wait().addCallback(_publish, command, services, mandatory)


def _publish(
    _declared: None, command: Publish, services: Services, mandatory: bool
) -> Deferred[None]:
    destination = command.destination
    return services.link.publish(
        destination.exchange,
        destination.routing_key,
        command.body,
        command.properties,
        mandatory=mandatory,
    )
