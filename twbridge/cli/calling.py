"""``twbridge call``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from twbridge.cli.broker import Broker, leave, with_broker
from twbridge.cli.seconds import Seconds
from twbridge.errors import TwbridgeError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from twbridge.rpc.caller import Caller

__all__ = ["call"]

_INTERRUPTED: Final = 130
#: What a terminal would obey, and what would make two lines of one.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _pairs(_context: Any, _parameter: Any, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.")
    return dict(value.split("=", 1) for value in values)


def _json(_context: Any, _parameter: Any, value: str | None) -> Any:
    if value is None:
        return None
    text: str | bytes = value
    if value == "-":
        from twbridge.cli.publishing import stdin

        text = stdin()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{_beginning(text)} is not JSON: {error}.") from None


def _beginning(text: str | bytes) -> str:
    return repr((text if isinstance(text, str) else text[:400].decode(errors="replace"))[:100])


class _Timeout(Seconds):
    """Seconds over 0, or ``none``."""

    name = "seconds"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Its number."""
        return math.inf if value == "none" else super().convert(value, param, ctx)


@click.command()
@click.argument("name")
@click.argument("body", metavar="[JSON]", required=False, callback=_json)
@click.option(
    "--timeout",
    type=_Timeout(min=0.0, min_open=True),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    callback=lambda _context, _parameter, value: None if value == math.inf else value,
    help="In which the result must come; none: it is waited for, for ever.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, 255),
    default=0,
    show_default=True,
    help="Higher ones are taken first.",
)
@click.option(
    "--header",
    "headers",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs,
    help="A header; may be given again.",
)
@click.option("--progress", is_flag=True, help="Print progress on stderr, a line of JSON each.")
@with_broker
def call(broker: Broker, name: str, progress: bool, **options: Any) -> None:
    """Call the task NAME with JSON (-: of stdin), or with nothing, and print its result as JSON.

    A list or an object fills the parameters of the task. A result that is bytes is printed as
    {"base64": "..."}.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.
    """

    def told(value: Any) -> None:
        if progress:
            click.echo(_shown(value), err=True)

    called = _run(broker, lambda caller: caller.call(name, **options, on_progress=told))
    click.echo(_shown(called))


def _run(broker: Broker, calling: Callable[[Caller], Deferred[Any]]) -> Any:
    """Run the reactor until the call has ended, and give its result."""
    from twisted.internet import task

    results: list[Any] = []
    interrupted: list[bool] = []

    async def called(reactor: Any) -> None:
        from twbridge.rpc.caller import Caller

        link = broker.link(reactor, "twbridge call")
        caller = Caller(link, reactor=reactor)

        def interrupt() -> Deferred[None]:
            interrupted.append(not results)
            return caller.stop()  # the worker is told

        reactor.addSystemEventTrigger("before", "shutdown", interrupt)
        link.start()
        caller.start().addErrback(lambda _: None)  # the call itself says why
        try:
            results.append(await calling(caller))
        except TwbridgeError as error:
            results.append(error)
        finally:
            await caller.stop()
            await link.stop()

    try:
        task.react(called)
    except SystemExit as end:
        if any(interrupted) or end.code or not results:
            raise SystemExit(_INTERRUPTED if any(interrupted) else end.code or 1) from None
    (result,) = results
    if isinstance(result, TwbridgeError):
        text = _CONTROL.sub(" ", str(result)) or type(result).__name__
        leave(f"{result.code}: {text}")
    return result


def _shown(value: Any) -> str:
    """A result in one line of JSON."""
    if isinstance(value, bytes):
        value = {"base64": value}
    return msgspec.json.encode(value).decode()
