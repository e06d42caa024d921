"""Long polling: a GET that is answered when something is published to a channel.

::

    caller = Caller("amqp://localhost")        # started and stopped by its owner
    polls = Polls(caller)

    @app.route("/news")                        # Klein
    def news(request):
        return polls.wait(request, "news", timeout=25)

    class News(Resource):                      # twisted.web
        def render_GET(self, request):
            return polls.render(request, "news", timeout=25)

The channels are those of ``Caller.publish``. The answer is one message, as it was published; 204
where there was none in time. Its header ``Twbridge-Number`` goes into the next request as
``?after=``, which then misses nothing in between: what is published is kept for a while, and what
could not be kept is told in ``Twbridge-Missed``. An empty ``?after=`` asks for the first number.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import NO_CONTENT
from twisted.web.iweb import IRequest
from twisted.web.server import NOT_DONE_YET

from twbridge.errors import EncodeError, TwbridgeError
from twbridge.polled import KEPT, KEPT_BYTES, NUMBER, Answer, Channel, Poll, line, unavailable
from twbridge.rpc.caller import Caller
from twbridge.rpc.names import check_channel

__all__ = ["KEPT", "KEPT_BYTES", "LINGER", "LONGEST", "MOST_CHANNELS", "MOST_POLLS", "Polls"]

_log = Logger()

#: Seconds for which a channel that nobody waits for any more is listened to.
LINGER: Final = 60.0
#: Seconds that a request may wait at most.
LONGEST: Final = 3600.0
#: Requests that wait at a time; more are answered with 503.
MOST_POLLS: Final = 10_000
#: Channels at a time; more are answered with 503.
MOST_CHANNELS: Final = 1_000

#: What scripts of other origins may read, where the application lets them have the answer.
_EXPOSED: Final = b"Twbridge-Number, Twbridge-Missed, Twbridge-Channel, Retry-After"
_COMMON: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # A browser runs none of it, whatever its publisher calls it.
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class Polls:
    """The requests that wait for channels.

    Args:
        caller: whose channels these are. Its owner starts and stops it.
        reactor: the running one if None.
        token: a text of eight hexadecimal digits, another one each time.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        reactor: Any = None,
        token: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        if reactor is None:
            from twbridge.service import global_reactor

            reactor = global_reactor()
        self._caller = caller
        self._clock = reactor
        self._token = token
        self._channels: dict[str, Channel] = {}
        self._waiting = 0
        self._stopped = False

    def __len__(self) -> int:
        """How many requests wait."""
        return self._waiting

    def __bool__(self) -> bool:
        return True

    @property
    def channels(self) -> int:
        """How many channels are listened to."""
        return len(self._channels)

    def wait(self, request: IRequest, channel: str, timeout: float = 25.0) -> Deferred[bytes]:
        """Answer a request with the next message of a channel: what a route of Klein returns.

        Args:
            request: its parameter ``after`` is the ``Twbridge-Number`` of the last message that
                the client has; empty, the present one is answered, once the broker has the
                subscription. Without it, only what is published from now on counts.
            channel: a name, or a topic pattern: ``*`` is one word, ``#`` any number.
            timeout: seconds that it may take: over 0, up to ``LONGEST``.

        Fires with the body, and has set the status and the header of the answer, but for the
        length: 200, a message; 204, there was none in time, or what there was is lost; 400,
        ``after`` is no such number, or no channel can have that name; 503, the broker is away, the
        caller or this was stopped, or too many wait. Fails with CancelledError when the client has
        left: nothing of it stays then.

        Raises:
            ValueError: nobody can wait that long.
        """
        if not 0 < timeout <= LONGEST:  # nor is NaN
            raise ValueError(f"timeout has to be over 0 and up to {LONGEST:g} seconds")
        if getattr(request, "_disconnected", False):
            # notifyFinish never fires then, and twisted.web has no other way to know.
            return fail(CancelledError())
        answer = self._wait(_after(request), channel, timeout)
        request.notifyFinish().addErrback(lambda _: answer.cancel())  # type: ignore[attr-defined]
        return answer.addCallback(partial(_apply, request))

    def render(self, request: IRequest, channel: str, timeout: float = 25.0) -> int:
        """As `wait`, for resources of twisted.web: what ``render_GET`` returns."""
        waiting = self.wait(request, channel, timeout)
        waiting.addCallback(partial(_finish, request))
        waiting.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return NOT_DONE_YET

    def stop(self) -> Deferred[None]:
        """Answer all that wait with 204 or 503, and listen no more: from now on all get a 503.

        Fires when the broker has taken the subscriptions back. Never fails.
        """
        self._stopped = True
        gone = [self._forget(channel) for channel in list(self._channels.values())]
        return gatherResults(gone).addCallback(lambda _: None)

    # -- inside

    def _wait(self, after: str | None, name: str, timeout: float) -> Deferred[Answer]:
        refusal = self._refusal(after, name)
        if refusal is not None:
            return succeed(refusal)
        known = self._channels.get(name)
        channel = known or Channel(name, self._token())
        answer: Deferred[Answer] = Deferred()
        poll = channel.poll(after, answer) if after else channel.begin(answer, asks=after == "")
        there = channel.answer(poll)
        if there is not None:
            if channel.linger is not None:
                channel.linger.reset(LINGER)
            return succeed(there)
        self._waiting += 1
        channel.polls[poll] = None
        if channel.linger is not None:
            channel.linger.cancel()
            channel.linger = None
        seconds = min(timeout, self._patience) if channel.away else timeout
        poll.timer = self._clock.callLater(seconds, self._late, channel, poll)
        answer.addBoth(self._over, channel, poll)
        if known is None:
            self._listen(channel)
        return answer

    def _refusal(self, after: str | None, name: str) -> Answer | None:
        if self._stopped:
            return unavailable("Nothing is listened to any more, come back later.")
        try:
            check_channel(name)
        except EncodeError as error:
            why = str(error)
            return line(400, f"{why[0].upper()}{why[1:]}.")
        if after and not NUMBER.fullmatch(after):
            return line(400, "The parameter after is the Twbridge-Number of an answer.")
        known = name in self._channels
        if self._waiting >= MOST_POLLS or (not known and self.channels >= MOST_CHANNELS):
            return unavailable("Too many wait here, come back later.")
        return None

    @property
    def _patience(self) -> float:
        """Seconds that a request waits for a broker that is away."""
        return self._caller.link.options.timeout

    def _late(self, channel: Channel, poll: Poll) -> None:
        poll.answer.callback(channel.nothing(poll))

    def _over(self, result: Any, channel: Channel, poll: Poll) -> Any:
        """It waits no more, for whatever reason."""
        self._waiting -= 1
        del channel.polls[poll]
        timer, poll.timer = poll.timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if not channel.polls and self._channels.get(channel.name) is channel:
            channel.linger = self._clock.callLater(LINGER, self._forget, channel)
        return result

    def _listen(self, channel: Channel) -> None:
        self._channels[channel.name] = channel
        self._caller.subscribe_raw(
            channel.name,
            channel.heard,
            on_gap=partial(self._interrupted, channel),
            on_up=channel.standing,
            on_end=partial(self._ended, channel),
        ).addCallbacks(lambda _: channel.standing(), partial(self._refused, channel))

    def _interrupted(self, channel: Channel) -> None:
        channel.interrupted()
        latest = self._clock.seconds() + self._patience
        for poll in channel.polls:
            if poll.timer is not None and poll.timer.getTime() > latest:
                poll.timer.reset(self._patience)

    def _ended(self, channel: Channel) -> None:
        """The caller was stopped: nothing comes here any more, also when it starts again."""
        if self._channels.get(channel.name) is channel:
            channel.interrupted()
            self._drop(channel)

    def _refused(self, channel: Channel, failure: Failure) -> None:
        if self._channels.get(channel.name) is channel:
            _log.warn(
                "{channel} can't be listened to: {error}",
                channel=channel.name,
                error=failure.getErrorMessage(),
            )
            self._drop(channel)
        if not failure.check(TwbridgeError):
            _log.failure("A subscription broke", failure)

    def _drop(self, channel: Channel) -> None:
        """It is no more; who waits is answered."""
        del self._channels[channel.name]
        if channel.linger is not None and channel.linger.active():
            channel.linger.cancel()
        for poll in list(channel.polls):
            poll.answer.callback(channel.nothing(poll))

    def _forget(self, channel: Channel) -> Deferred[None]:
        self._drop(channel)
        gone = self._caller.unsubscribe(channel.name, channel.heard)
        return gone.addErrback(lambda failure: failure.trap(TwbridgeError) and None)


def _after(request: Any) -> str | None:
    values = request.args.get(b"after")
    return None if values is None else values[-1].decode("latin-1")


def _apply(request: Any, answer: Answer) -> bytes:
    request.setResponseCode(answer.status)
    for name, value in (_COMMON | answer.fields).items():
        request.setHeader(name.encode(), value.encode("latin-1"))
    # One more field: the application may expose others.
    request.responseHeaders.addRawHeader(b"access-control-expose-headers", _EXPOSED)
    return answer.body


def _finish(request: Any, body: bytes) -> None:
    if request.code != NO_CONTENT:
        request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()
