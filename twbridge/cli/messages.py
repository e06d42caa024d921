"""What ``twbridge sub`` and ``twbridge pub`` take.

What they do is imported when they do it: ``twbridge check`` needs no Autobahn.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from twbridge.cli.seconds import Seconds
from twbridge.daemon.layers import URL_VARIABLE
from twbridge.destinations import parse
from twbridge.errors import BadFrame, TwbridgeError
from twbridge.starts import parse_start

__all__ = ["pub", "sub"]

URL = "ws://localhost:8080/ws"
#: Those of a message that are numbers; the others are texts.
_NUMBERS = ("delivery_mode", "priority", "timestamp")
_PROPERTIES = (
    "content_type",
    "content_encoding",
    *_NUMBERS,
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "app_id",
)

_Command = Callable[..., Any]


def _with_connection(command: _Command) -> _Command:
    """Give a command the options that say where the bridge is."""
    for option in (
        click.option("--compress", is_flag=True, help="Offer permessage-deflate."),
        click.option(
            "--cacert",
            type=click.Path(exists=True, dir_okay=False),
            help="Who vouches for a wss:// bridge (PEM), in the place of the system's authorities.",
        ),
        click.option(
            "--url",
            default=URL,
            envvar=URL_VARIABLE,
            show_default=True,
            help=f"The bridge: ws://, wss:// or ws+unix:///path/of/socket:/ws. [{URL_VARIABLE}]",
        ),
    ):
        command = option(command)
    return command


def _destination(_context: Any, _parameter: Any, value: Any) -> Any:
    try:
        for each in [value] if isinstance(value, str) else value:
            parse(each)
    except TwbridgeError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _start(_context: Any, _parameter: Any, value: str | None) -> str | None:
    try:
        return None if value is None else str(parse_start(value))
    except BadFrame as error:
        raise click.BadParameter(str(error)) from None


def _pairs(_context: Any, _parameter: Any, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.")
    return dict(value.split("=", 1) for value in values)


def _properties(context: Any, parameter: Any, values: tuple[str, ...]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, value in _pairs(context, parameter, values).items():
        if name not in _PROPERTIES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(_PROPERTIES)}.")
        if name in _NUMBERS and not value.isdecimal():
            raise click.BadParameter(f"{name} is a whole number, not {value!r}.")
        properties[name] = int(value) if name in _NUMBERS else value
    return properties


_SECONDS = Seconds(min=0.0, min_open=True)


@click.command()
@click.argument(
    "destinations", metavar="DESTINATION...", nargs=-1, required=True, callback=_destination
)
@click.option(
    "--from",
    "start",
    metavar="WHERE",
    callback=_start,
    help="Where a /stream begins: first, last, next (default), offset=N or timestamp=SECONDS.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many messages.")
@click.option(
    "--timeout", type=_SECONDS, help="End with exit code 3 when nothing came for so many seconds."
)
@click.option(
    "--ack",
    type=click.Choice(["auto", "client"]),
    help="Whether messages are acknowledged when they are printed (client) or sent "
    "(auto). Queues: client if not given.",
)
@click.option(
    "--prefetch",
    type=click.IntRange(1, 65535),
    help="Messages that may wait for their acknowledgement.",
)
@click.option(
    "--overflow",
    type=click.Choice(["close", "drop-oldest", "latest", "block"]),
    help="What becomes of messages that are not read in time.",
)
@click.option("--headers", is_flag=True, help="Print the headers too.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the bridge's frame of each message, as one line of JSON.",
)
@_with_connection
def sub(destinations: tuple[str, ...], **options: Any) -> None:
    """Print the messages of one or more destinations, one on a line.

    Lines have the time, the routing key (queues and streams: the destination) and the body.
    What is missing, dropped or away is told on stderr. The connection comes back by itself.

    Exit codes: 0 done (or nobody reads the output), 1 refused, 2 usage, 3 no connection or nothing
    came in time, 130 interrupted.
    """
    kinds = {parse(each).kind for each in destinations}
    if options["start"] is not None and "stream" not in kinds:
        raise click.UsageError("--from is for /stream destinations.")
    if len(set(destinations)) < len(destinations):
        raise click.UsageError("A destination is named twice.")
    from twbridge.cli.subscribing import Subscribing
    from twbridge.cli.talk import run

    run(Subscribing(destinations, **options))


@click.command()
@click.argument("destination", callback=_destination)
@click.argument("body", required=False)
@click.option("--json", "as_json", is_flag=True, help="The body is JSON.")
@click.option("--text", "as_text", is_flag=True, help="The body is text, in UTF-8.")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False),
    help="The body is the bytes of a file.",
)
@click.option("--lines", is_flag=True, help="Each line of stdin is a message.")
@click.option(
    "--header",
    "headers",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs,
    help="A header; may be given again.",
)
@click.option(
    "--property",
    "properties",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_properties,
    help="A property of AMQP, like content_type.",
)
@click.option(
    "--mandatory/--no-mandatory",
    default=None,
    help="Whether it is refused when no queue takes it. Queues: yes if not given.",
)
@click.option("--id", "identity", help="With --client: the message with this id is published once.")
@click.option("--client", help="The UUID of the client that says so.")
@click.option(
    "--timeout",
    type=_SECONDS,
    default=10.0,
    show_default=True,
    help="Seconds in which the confirm must come.",
)
@_with_connection
def pub(destination: str, **options: Any) -> None:
    """Publish BODY, or stdin where it is - or missing, and wait for the broker's confirm.

    Without an option the body is text where it is UTF-8, and bytes where it is not.

    Exit codes: 0 confirmed, 1 refused, 2 usage, 3 no connection or no confirm in time, 130
    interrupted.
    """
    given, path, lines = options.pop("body"), options.pop("path"), options.pop("lines")
    as_json, as_text = options.pop("as_json"), options.pop("as_text")
    if (as_json, as_text, path is not None).count(True) > 1:
        raise click.UsageError("--json, --text and --file exclude each other.")
    if (given not in (None, "-"), path is not None, lines).count(True) > 1:
        raise click.UsageError("BODY, --file and --lines exclude each other.")
    if lines and options["identity"] is not None:
        raise click.UsageError("--lines publishes many messages, --id names one.")
    if options["identity"] is not None and options["client"] is None:
        raise click.UsageError("--id is one of a client: --client must say which.")
    if as_json:
        options["properties"] = {"content_type": "application/json"} | options["properties"]
    from twbridge.cli import publishing
    from twbridge.cli.talk import run

    def read(data: bytes) -> Any:
        return value_of(data, as_json=as_json, as_text=as_text)

    if lines:
        run(publishing.PublishingLines(destination, read, **options))
    if path is not None:
        body: Any = Path(path).read_bytes()
    else:
        inline = given not in (None, "-")
        data = given.encode(errors="surrogateescape") if inline else publishing.stdin()
        try:
            body = read(data)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    run(publishing.Publishing(destination, body, **options))


def value_of(data: bytes, *, as_json: bool, as_text: bool) -> Any:
    """The body that bytes are meant to be; JSON stays as it was written.

    Raises:
        ValueError: they are not JSON, or not text.
    """
    if as_json:
        try:
            json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"The body is not JSON: {error}.") from None
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        if as_text:
            raise ValueError("The body is not UTF-8.") from None
        return data
