"""The calls of one client: how they go out, and how their answers come back (sans-I/O)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twbridge.commands import Call, Event, Id, Progress, Result
from twbridge.destinations import Destination
from twbridge.errors import Conflict, Forbidden, NotFound, TooLarge, TooMany
from twbridge.policy import Peer
from twbridge.ports import Calling, CallResult, Services
from twbridge.rpc.names import is_reserved
from twbridge.rpc.serializers import PICKLE, Body, answer_type, inflate
from twbridge.wire import encode_properties

__all__ = ["DEFAULT_TIMEOUT", "Calls"]

#: How long a call may take where the client does not say, in seconds.
DEFAULT_TIMEOUT = 30.0


class Calls:
    """The calls of one session that are under way.

    Args:
        services: the caller and the rules.
        peer: who calls.
        tell: how the client hears of progress and results.
        refuse: how it hears of a failure of the call with that id, of that name.
    """

    __slots__ = ("_peer", "_refuse", "_services", "_tell", "_under_way", "_unsettled")

    def __init__(
        self,
        services: Services,
        peer: Peer,
        tell: Callable[[Event], object],
        refuse: Callable[[Failure, Id, str, Destination], object],
    ) -> None:
        self._services = services
        self._peer = peer
        self._tell = tell
        self._refuse = refuse
        self._under_way: dict[Id, Deferred[Result]] = {}
        #: Those under way, and those that were cancelled and wait in their queues.
        self._unsettled = 0

    def begin(self, command: Call) -> None:
        """Call the task; the client hears of what follows.

        Raises:
            ClientError, EncodeError: it is not to be called.
        """
        calls, limit = self._under_way, self._services.limits.calls
        if command.id in calls:
            raise Conflict("A call with this id is under way.")
        if self._unsettled >= limit:
            raise TooMany(
                f"At most {limit} calls may be under way; one that is cancelled counts while its "
                "request waits."
            )
        caller = self._screen(command)
        self._unsettled += 1
        called = calls[command.id] = self._call(command, caller)
        called.addCallbacks(self._called, self._not_called, errbackArgs=(command,))

    def cancel(self, identity: Id) -> None:
        """End the call with this id; it fails with what says so.

        Raises:
            NotFound: there is none.
        """
        called = self._under_way.get(identity)
        if called is None:
            raise NotFound("There is no call with this id under way.")
        called.cancel()

    def cancel_all(self) -> None:
        """Nobody waits for an answer any more."""
        for called in [*self._under_way.values()]:
            called.cancel()

    def _screen(self, command: Call) -> Calling:
        services, limits = self._services, self._services.limits
        services.policy.check("call", command.destination, self._peer)
        if services.calls is None:
            raise Forbidden("This bridge calls no tasks.")
        if answer_type(command.content_type) == PICKLE:
            raise Forbidden("Pickle is not for clients.")
        if len(command.body) > limits.message:
            raise TooLarge(f"The body is over {limits.message} bytes.")
        for name in command.headers or ():
            if is_reserved(name):
                raise Forbidden(
                    "The headers CC, BCC and those that begin with twbridge- or x- are not yours."
                )
        if command.headers:
            size = len(encode_properties({"headers": command.headers}))
            if size > limits.headers:
                raise TooLarge(f"The headers are over {limits.headers} bytes.")
        return services.calls

    def _call(self, command: Call, caller: Calling) -> Deferred[Result]:
        def progressed(body: Body) -> None:
            word = inflate(body)
            self._tell(Progress(command.id, word.data, word.content_type))

        def answered(result: CallResult) -> Result:
            body = inflate(result.body)
            return Result(command.id, body.data, body.content_type, dict(result.headers) or None)

        called: Deferred[Any] = caller.call_raw(
            command.destination.name,
            Body(command.body, command.content_type),
            timeout=DEFAULT_TIMEOUT if command.timeout is None else command.timeout,
            headers=command.headers,
            on_progress=progressed,
            on_settled=self._settled,
        )
        return called.addCallback(answered)

    def _settled(self) -> None:
        self._unsettled -= 1

    def _called(self, result: Result) -> None:
        del self._under_way[result.id]
        self._tell(result)

    def _not_called(self, failure: Failure, command: Call) -> None:
        del self._under_way[command.id]
        self._refuse(failure, command.id, "call", command.destination)
