"""The id of the HTTP request that is being served, for what is published meanwhile (sans-I/O).

It is in a ``ContextVar``: a coroutine keeps it over all that it awaits, and of requests that are
served side by side each has its own. A callback of a Deferred runs in the context of whoever fires
it, so those of a Deferred that a route returns are made to run in the route's.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial, wraps
from typing import Any

from twisted.internet.defer import Deferred

ACCEPTED = (b"X-Request-ID", b"X-Correlation-ID", b"Correlation-ID")
"""The header fields that may bring an id, the first one that is sane; any other id is new."""
ANSWERED = b"X-Request-ID"
"""The header field of the answer that tells it."""
_MARK = "_twbridge_serves"
_SANE = re.compile(rb"[\x21-\x7e]{1,128}")

_served: ContextVar[str | None] = ContextVar("twbridge.correlation", default=None)


def request_id(request: Any) -> str:
    """The id of a request of twisted.web: 1 to 128 visible ASCII characters.

    The client's (see ``ACCEPTED``), or a new one where it sent none that is sane. The first call
    decides, and puts it into the header of the answer.
    """
    answered = request.responseHeaders.getRawHeaders(ANSWERED) or ()
    sent = (request.requestHeaders.getRawHeaders(name) or () for name in ACCEPTED)
    for values in (answered, *sent):
        if values and _SANE.fullmatch(values[0]):
            found: bytes = values[0]
            break
    else:
        found = uuid.uuid4().hex.encode()
    request.responseHeaders.setRawHeaders(ANSWERED, [found])
    return found.decode()


def current_id() -> str | None:
    """The id of the request that is being served here; None outside of one."""
    return _served.get()


def serve(request: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function for a request: there, and in what it goes on with, `current_id` tells it.

    What it goes on with is its coroutines, and the callbacks of the Deferred that it returns; also
    of those that this one waits for already, whoever they are of.
    """
    return _call(request_id(request), function, *args, **kwargs)


def serving(render: Callable[..., Any]) -> Callable[..., Any]:
    """A resource's ``render`` that serves its request."""
    if hasattr(render, _MARK):
        return render

    @wraps(render)
    def render_in_context(self: Any, request: Any) -> Any:
        return serve(request, render, self, request)

    setattr(render_in_context, _MARK, True)
    return render_in_context


class ServingApplication:
    """What a Klein application gets before its own class: routes that serve their request."""

    def execute_endpoint(self, endpoint: str, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a route."""
        run: Any = super()
        return serve(request, run.execute_endpoint, endpoint, request, *args, **kwargs)

    def execute_error_handler(self, handler: Any, request: Any, failure: Any) -> Any:
        """Run what the application has for an error of a route."""
        run: Any = super()
        return serve(request, run.execute_error_handler, handler, request, failure)


def correlate(application: object) -> None:
    """Let all routes of a Klein application serve their requests, those to come too.

    Anything but a Klein application stays as it is.
    """
    kind: Any = type(application)
    if hasattr(kind, "execute_endpoint") and not issubclass(kind, ServingApplication):
        # Klein makes copies by its class, so an attribute of the object would be lost.
        application.__class__ = _serving_kind(kind)


@cache
def _serving_kind(kind: type[Any]) -> type[Any]:
    return type(kind.__name__, (ServingApplication, kind), {})


@contextmanager
def _serving(identity: str) -> Iterator[None]:
    token = _served.set(identity)
    try:
        yield
    finally:
        _served.reset(token)


def _call(identity: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with _serving(identity):
        result = function(*args, **kwargs)
    return _carry(identity, result)


def _carry(identity: str, result: Any) -> Any:
    """Let the callbacks that a Deferred has so far run as parts of the request."""
    waiting_for = result
    while isinstance(waiting_for, Deferred):
        # Twisted has no other way to them; a test notices should this one end.
        callbacks: list[Any] = waiting_for._callbacks
        callbacks[:] = [
            tuple(
                # What joins two Deferreds is a mark there, and no callable.
                (partial(_call, identity, each), args, kwargs)
                if callable(each)
                else (each, args, kwargs)
                for each, args, kwargs in pair
            )
            for pair in callbacks
        ]
        # What it waits for is the request's as a rule, and looks the same where it is shared.
        waiting_for = getattr(waiting_for, "result", None)
    return result
