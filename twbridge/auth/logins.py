"""Logins in an orderly way: so many at a time, the rest in a queue, the same one once (sans-I/O).

When a broker or a proxy restarts, thousands of clients come back in the same second, most of them
with the same few accounts. Logins that are the same are one question, also for a while after it
was answered with yes. A no is not remembered: what was refused now may be right in a second.

What is remembered is no password but a digest of it, with a key that this process made for itself
and tells nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from secrets import token_bytes

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.auth.interfaces import Source
from twbridge.errors import Busy, NotReady, TwbridgeError, Unauthenticated

__all__ = ["MAX_PASSWORD", "MAX_REMEMBERED", "MAX_USER", "Logins"]

_log = Logger()

MAX_USER = 255
"""Bytes of a user name."""
MAX_PASSWORD = 1024
"""Bytes of a password. A broker reads no more than 4,096 bytes before it has named its limits."""
MAX_REMEMBERED = 10_000
"""Logins that are remembered; the oldest goes first."""

REQUIRED = "A user name and a password are required."
WRONG = "The user name or the password is wrong."
LOCAL = "This user is for clients on the bridge's own machine only."


class Logins:
    """The Checker over a source.

    Args:
        clock: times the queue and what is remembered.
        remember: seconds for which a login that was right needs no question; 0: none.
        timeout: seconds that a login may wait for its turn; also what the source is told.
        parallel: questions at a time.
        waiting: questions in the queue, past which logins are refused for now.
        local_only: a user name and a password that everybody knows, which are refused unless the
            client is on this machine.
    """

    def __init__(
        self,
        clock: IReactorTime,
        source: Source,
        *,
        remember: float,
        timeout: float,
        parallel: int,
        waiting: int,
        local_only: tuple[str, str] | None = None,
    ) -> None:
        self._clock = clock
        self._source = source
        self._timeout = timeout
        self._parallel = parallel
        self._waiting = waiting
        self._local_only = local_only
        self._key = token_bytes(32)
        self._known = _Known(clock.seconds, remember)
        self._queue: dict[bytes, _Question] = {}
        self._asked: dict[bytes, _Question] = {}
        self._pumping = False

    @property
    def busy(self) -> int:
        """Questions that have no answer yet."""
        return len(self._queue) + len(self._asked)

    def check(
        self, user: str | None, password: str | None, *, local: bool = False
    ) -> Deferred[str]:
        """See :class:`~twbridge.auth.interfaces.Checker`."""
        if user is None or password is None:
            return fail(Unauthenticated(REQUIRED))
        if (user, password) == self._local_only and not local:
            return fail(Unauthenticated(LOCAL))
        digest = self._digest(user, password)
        if digest is None:
            return fail(Unauthenticated(WRONG))
        if digest in self._known:
            return succeed(user)
        question = self._asked.get(digest) or self._queue.get(digest)
        if question is None:
            if len(self._queue) >= self._waiting:
                return fail(Busy())
            question = self._queue[digest] = _Question(user, password)
            question.began = self._clock.seconds()
            question.deadline = self._clock.callLater(self._timeout, self._expire, digest)
        answer: Deferred[str] = Deferred(lambda gone: self._gone(digest, gone))
        question.waiters.append(answer)
        self._pump()
        return answer

    def _digest(self, user: str, password: str) -> bytes | None:
        """What the login is known by, or None where nobody can have such a name or password."""
        name, secret = _bytes(user, MAX_USER), _bytes(password, MAX_PASSWORD)
        if name is None or secret is None:
            return None
        digest = blake2b(key=self._key, digest_size=32)
        # No name or password holds a NUL.
        digest.update(b"%d\0%b\0%b" % (self._source.epoch, name, secret))
        return digest.digest()

    # -- turns --------------------------------------------------------------------------------

    def _pump(self) -> None:
        if self._pumping:
            return  # an answer came at once: the loop below goes on
        self._pumping = True
        try:
            while self._queue and len(self._asked) < self._parallel:
                digest = next(iter(self._queue))
                self._ask(digest, self._take(digest))
        finally:
            self._pumping = False

    def _take(self, digest: bytes) -> _Question:
        question = self._queue.pop(digest)
        if question.deadline is not None and question.deadline.active():
            question.deadline.cancel()
        return question

    def _ask(self, digest: bytes, question: _Question) -> None:
        self._asked[digest] = question
        left = self._timeout - (self._clock.seconds() - question.began)
        try:
            answer = self._source.ask(question.user, question.password, max(left, 0.0))
        except Exception:
            answer = fail(Failure())
        answer.addBoth(self._answered, digest, question)

    def _answered(self, result: bool | Failure, digest: bytes, question: _Question) -> None:
        del self._asked[digest]
        error = _error(result)
        if error is None:
            self._known.add(digest)
            question.settle(lambda waiter: waiter.callback(question.user))
        else:
            question.settle(lambda waiter: waiter.errback(error))
        self._pump()

    def _expire(self, digest: bytes) -> None:
        self._take(digest).settle(lambda waiter: waiter.errback(Busy()))

    def _gone(self, digest: bytes, waiter: Deferred[str]) -> None:
        """A client that waits has gone; its question goes with the last one."""
        question = self._asked.get(digest) or self._queue.get(digest)
        if question is None or waiter not in question.waiters:
            return
        question.waiters.remove(waiter)
        if not question.waiters and digest in self._queue:
            self._take(digest)


class _Question:
    """One login, and all that wait for its answer. Has a password and so no representation."""

    __slots__ = ("began", "deadline", "password", "user", "waiters")

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password
        self.began = 0.0
        self.deadline: IDelayedCall | None = None
        self.waiters: list[Deferred[str]] = []

    def settle(self, how: Callable[[Deferred[str]], None]) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.called:  # one may have cancelled another
                how(waiter)


class _Known:
    """What was right lately: digests, each with the time when it is forgotten."""

    def __init__(self, now: Callable[[], float], seconds: float) -> None:
        self._now = now
        self._seconds = seconds
        self._until: dict[bytes, float] = {}  # the oldest first: all stay equally long

    def __contains__(self, digest: bytes) -> bool:
        return self._until.get(digest, 0.0) > self._now()

    def add(self, digest: bytes) -> None:
        if not self._seconds:
            return
        now = self._now()
        self._until.pop(digest, None)
        while self._until:
            oldest = next(iter(self._until))
            if len(self._until) < MAX_REMEMBERED and self._until[oldest] > now:
                break
            del self._until[oldest]
        self._until[digest] = now + self._seconds


def _bytes(text: str, limit: int) -> bytes | None:
    """The text in UTF-8, or None where it is empty, too long or can't stand in a login.

    A NUL separates the parts of SASL's PLAIN (RFC 4616): a name with one would be two names.
    """
    if not text or "\0" in text or len(text) > limit:
        return None
    data = text.encode("utf-8", "replace")
    good = len(data) <= limit and not any("\ud800" <= letter <= "\udfff" for letter in text)
    return data if good else None


def _error(result: bool | Failure) -> TwbridgeError | None:
    """What a client is told; None: that it is who it says."""
    if isinstance(result, Failure):
        if isinstance(result.value, TwbridgeError):
            return result.value
        _log.failure("A login could not be checked", result)
        return NotReady("the login could not be checked")
    return None if result else Unauthenticated(WRONG)
