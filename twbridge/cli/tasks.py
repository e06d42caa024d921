"""``twbridge tasks``: what is served, what waits, and what has died."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from twbridge.cli.broker import Broker, leave, with_broker
from twbridge.cli.seconds import Seconds
from twbridge.errors import NotFound, TwbridgeError, UnknownTask

if TYPE_CHECKING:
    from twbridge.amqp import Link
    from twbridge.rpc.deadletters import Letter
    from twbridge.rpc.inspection import TaskState, WorkerState

__all__ = ["tasks"]

_Answer = TypeVar("_Answer")
_Asking = Callable[["Link", Any], Any]

#: Characters of a body that are shown on its line.
SHOWN: Final = 200
#: What a terminal would obey, and what would make two lines of one.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _ListedByDefault(click.Group):
    """``twbridge tasks [NAME...]`` is ``twbridge tasks list [NAME...]``."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        first = arguments[0] if arguments else ""
        if first not in self.commands and first not in context.help_option_names:
            arguments = ["list", *arguments]
        return super().parse_args(context, arguments)


_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=_ListedByDefault)
def tasks() -> None:
    """Tasks, their queues, their workers and their dead letters. Without a command: list.

    Exit codes: 0 done, 1 refused, or the broker is away.
    """


@tasks.command("list")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--wait",
    type=Seconds(0.0, 60.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds in which workers answer.",
)
@_AS_JSON
@with_broker
def list_(broker: Broker, names: tuple[str, ...], wait: float, as_json: bool) -> None:
    """The tasks that are served now, or those that are named, and the workers.

    A task that no worker serves is listed only when it is named.
    """
    from twbridge.rpc.inspection import survey

    found, workers = _ask(broker, lambda link, clock: survey(link, clock, names, wait=wait))
    if as_json:
        _print_json({"tasks": found, "workers": workers})
    else:
        _print_tasks(found, workers)
    missing = [task.name for task in found if task.waiting is None]
    if missing:
        leave(f"no worker has ever served {', '.join(map(repr, missing))} here")


@tasks.command()
@click.argument("name")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="So many at most.",
)
@_AS_JSON
@with_broker
def dead(broker: Broker, name: str, limit: int, as_json: bool) -> None:
    """The dead letters of a task, the oldest first. They stay where they are.

    With --json, one object on a line for each; the body as base64.
    """
    from twbridge.rpc.deadletters import letters

    def asking(link: Link, clock: Any) -> Any:
        return _explained(link, name, letters(link, clock, name, limit))

    for letter in _ask(broker, asking):
        if as_json:
            _print_json(letter)
        else:
            click.echo(_line(letter))


@tasks.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=1), help="So many at most; all by default.")
@with_broker
def replay(broker: Broker, name: str, limit: int | None) -> None:
    """Make the dead letters of a task requests again, the oldest first.

    Those that are there now, no more: what fails again does not go round.
    """
    from twbridge.rpc.deadletters import replay as begin

    def asking(link: Link, clock: Any) -> Any:
        return _explained(link, name, begin(link, clock, name, limit))

    replayed = _ask(broker, asking)
    click.echo(f"{replayed.count} replayed")
    if replayed.error is not None:
        leave(str(replayed.error))


async def _explained(link: Link, name: str, asked: Awaitable[_Answer]) -> _Answer:
    """An answer about dead letters, or why there can be none."""
    from twbridge.rpc.inspection import count
    from twbridge.rpc.names import task_queue

    try:
        return await asked
    except NotFound:
        if await count(link, task_queue(name)) is None:
            raise UnknownTask(name) from None
        raise NotFound(
            f"the task {name!r} runs at most once: only tasks with "
            'guarantee="at-least-once" have dead letters'
        ) from None


def _ask(broker: Broker, asking: _Asking) -> Any:
    """Run the reactor until the question is answered.

    An error of ours is one line on stderr: exit code 1. Interrupted: 130.
    """
    from twisted.internet import task

    answers: list[Any] = []

    async def asked(reactor: Any) -> None:
        link = broker.link(reactor, "twbridge tasks")
        link.start()
        try:
            answers.append(await asking(link, reactor))
        except TwbridgeError as error:
            answers.append(error)
        finally:
            await link.stop()

    try:
        task.react(asked)
    except SystemExit as end:
        if end.code or not answers:
            raise SystemExit(end.code or 130) from None
    (answer,) = answers
    if isinstance(answer, TwbridgeError):
        leave(str(answer))
    return answer


def _print_json(what: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(what).decode())


def _print_tasks(found: Sequence[TaskState], workers: Sequence[WorkerState]) -> None:
    if not found:
        click.echo("No worker serves a task now.")
        return
    rows = [("TASK", "GUARANTEE", "WAITING", "RUNNING", "WORKERS", "DEAD", "QUEUE")]
    rows += [
        (
            _shown(task.name),
            _shown(task.guarantee or "-"),
            _number(task.waiting),
            str(task.running),
            str(task.workers),
            _number(task.dead),
            _shown(task.queue),
        )
        for task in found
    ]
    _print_table(rows, numbers=(2, 3, 4, 5))
    if not workers:
        click.echo("\nNo worker serves a task now.")
        return
    click.echo()
    lines = [("WORKER", "HOST", "PID", "SINCE", "RUNNING", "SERVES")]
    lines += [
        (
            _shown(worker.worker),
            _shown(worker.host),
            str(worker.pid),
            _moment(worker.started),
            str(sum(each.running for each in worker.tasks)),
            _shown(", ".join(each.name for each in worker.tasks)),
        )
        for worker in workers
    ]
    _print_table(lines, numbers=(2, 4))


def _print_table(rows: Sequence[Sequence[str]], *, numbers: tuple[int, ...]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _number(count: int | None) -> str:
    return "-" if count is None else str(count)


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "-"


def _line(letter: Letter) -> str:
    died = "-"
    if letter.died is not None:
        moment = letter.died
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        died = _moment(moment.timestamp())
    return f"{died} {_shown(letter.reason)} {_shown(letter.id)} {_body(letter)}"


def _body(letter: Letter) -> str:
    """The beginning of what was asked: text and JSON as they are, all else in base64."""
    text: str | None = None
    essence = letter.content_type.partition(";")[0]
    if letter.content_encoding is None and (
        essence.startswith("text/") or essence.endswith("json")
    ):
        try:
            text = letter.body.decode()
        except UnicodeDecodeError:
            text = None
    if text is None:
        text = "base64:" + base64.b64encode(letter.body[:SHOWN]).decode()
    return _shown(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _shown(text: str) -> str:
    return _CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], text)
