"""Requests of a lane, one after the other: the application is called."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from twbridge.rpc.executors.inside import ties
from twbridge.rpc.executors.inside.loading import one_line
from twbridge.wsgi.inside.answering import Answer
from twbridge.wsgi.inside.environ import environ_of
from twbridge.wsgi.inside.input import Input
from twbridge.wsgi.inside.lane import Exchange, Gone, Lane
from twbridge.wsgi.messages import BadMessage, Failed, Request, encode, read_to_worker
from twbridge.wsgi.pipe import LAST

__all__ = ["Application", "serve", "serve_next"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve(lane: Lane, application: Application, common: dict[str, Any]) -> None:
    """Run what comes on a lane, until the process is to end in order.

    When the lane is of no use any more, the process ends at once.

    Args:
        lane: the pipe.
        application: as PEP 3333 has it.
        common: what all environments hold: `environ.common`.
    """
    try:
        while serve_next(lane, application, common):
            pass
    except BaseException:
        traceback.print_exc()
        ties.end()


def serve_next(lane: Lane, application: Application, common: dict[str, Any]) -> bool:
    """Wait for a request, and run it; or forget a message that belongs to none.

    Returns:
        whether there may be another.
    """
    payload = lane.read()
    if not payload:
        return False  # the frame END: no other has none
    try:
        message = read_to_worker(payload)
    except BadMessage as error:
        lane.send(LAST, encode(Failed("app", f"a request that can't be read: {error}")))
        return True
    if isinstance(message, Request):
        _run(lane, message, application, common)
    return True


def _run(lane: Lane, request: Request, application: Application, common: dict[str, Any]) -> None:
    exchange = Exchange(lane, request.window)
    answer = Answer(exchange, request.method)
    failed: Failed | None = None
    try:
        _call(exchange, answer, request, application, common)
    except BaseException as error:
        if not (exchange.is_gone and isinstance(error, Gone)):
            _report(request, error)
        if not (exchange.is_gone or answer.is_complete):
            failed = Failed("app", one_line(error))
    # A thread that the application has left behind neither takes nor writes what is others'.
    exchange.is_gone = True
    if failed is not None:
        exchange.send(LAST, failed)
    else:
        exchange.end()


def _call(
    exchange: Exchange,
    answer: Answer,
    request: Request,
    application: Application,
    common: dict[str, Any],
) -> None:
    environ = environ_of(request, Input(exchange, request), common)
    result = application(environ, answer.start_response)
    try:
        answer.take(result)
    finally:
        if hasattr(result, "close"):
            result.close()


def _report(request: Request, error: BaseException) -> None:
    """Tell the log why a request has failed. Its query is left out: it may hold secrets."""
    line = f"{request.method} {request.mount}{request.path} from {request.client[0]}"
    text = "".join(traceback.format_exception(error))
    with contextlib.suppress(Exception):
        sys.stderr.write(f"{ascii(line)[1:-1]}: the application has failed\n{text}")
        sys.stderr.flush()
