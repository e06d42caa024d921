"""How a client's call of a task goes out, and its answer comes back (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from twbridge.commands import Call, Result
from twbridge.errors import Forbidden, TooLarge
from twbridge.policy import Peer
from twbridge.ports import CallResult, Services
from twbridge.wire import encode_properties

if TYPE_CHECKING:
    from twbridge.rpc.serializers import Body

__all__ = ["DEFAULT_TIMEOUT", "MAX_TIMEOUT", "call"]

#: How long a call may take where the client does not say, in seconds.
DEFAULT_TIMEOUT = 30.0
#: The longest time that a client may give a call, in seconds.
MAX_TIMEOUT = 3600.0

#: Headers that steer a broker or a worker.
_RESERVED = ("twbridge-", "x-")


def call(
    command: Call, peer: Peer, services: Services, on_progress: Callable[[Body], None]
) -> Deferred[Result]:
    """Call a task; fires with its answer, not compressed.

    Cancelling the Deferred cancels the call, also at its worker. It fails with what
    ``rpc.Caller.call_raw`` does.

    Args:
        command: what is asked.
        peer: who asks.
        services: the caller and the rules.
        on_progress: called with each body that the task sends on its way, in order.

    Raises:
        ClientError, EncodeError: it is not to be called.
    """
    from twbridge.rpc.serializers import Body, inflate

    limits = services.limits
    services.policy.check("call", command.destination, peer)
    if services.calls is None:
        raise Forbidden("This bridge calls no tasks.")
    if len(command.body) > limits.message:
        raise TooLarge(f"The body is over {limits.message} bytes.")
    headers = command.headers or {}
    for name in headers:
        if name.lower().startswith(_RESERVED) or name in ("CC", "BCC"):
            raise Forbidden(
                "Header names that begin with twbridge- or x-, CC and BCC are not yours."
            )
    if headers and len(encode_properties({"headers": headers})) > limits.headers:
        raise TooLarge(f"The headers are over {limits.headers} bytes.")
    called = services.calls.call_raw(
        command.destination.name,
        Body(command.body, command.content_type),
        timeout=DEFAULT_TIMEOUT if command.timeout is None else command.timeout,
        headers=headers,
        on_progress=lambda body: on_progress(inflate(body)),
    )
    return called.addCallback(_answer, command)


def _answer(result: CallResult, command: Call) -> Result:
    from twbridge.rpc.serializers import inflate

    body = inflate(result.body)
    return Result(command.id, body.data, body.content_type, dict(result.headers) or None)
