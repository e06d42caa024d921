"""``twbridge worker``: serve the tasks of a module.

What it does is imported when it does it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from twbridge.cli.broker import Broker, with_broker
from twbridge.cli.seconds import Seconds
from twbridge.rpc.children import START_TIMEOUT
from twbridge.rpc.tasks import CONCURRENCY, DRAIN, MAX_CONCURRENCY

__all__ = ["worker"]


def _settings(_context: Any, _parameter: Any, values: tuple[str, ...]) -> dict[str, Any]:
    settings = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE.")
        try:
            settings[key] = json.loads(text)
        except ValueError:
            settings[key] = text
    return settings


@click.command()
@click.argument("module")
@click.option(
    "--forks",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="How many processes serve; one that ends is replaced.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, MAX_CONCURRENCY),
    default=CONCURRENCY,
    show_default=True,
    help="Calls of each task that run at once in each of them, where the task does not say.",
)
@click.option(
    "--drain",
    type=Seconds(min=0.0),
    default=DRAIN,
    show_default=True,
    help="Seconds that the calls that run have to end, once it is told to stop.",
)
@click.option(
    "--start",
    type=Seconds(min=0.0, min_open=True),
    default=START_TIMEOUT,
    show_default=True,
    help="Seconds that each process has to import the module.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_settings,
    help="What context.settings begins with: JSON, else text; may be given again.",
)
@with_broker
def worker(
    module: str,
    broker: Broker,
    forks: int,
    concurrency: int,
    drain: float,
    start: float,
    settings: dict[str, Any],
) -> None:
    """Serve the tasks of MODULE, the name of a module or a file: it ends with .py, or has a slash.

    SIGTERM and SIGINT have it take no more calls and let those that run end; a second one ends
    them.

    Exit codes: 0 after a signal, 1 it can't begin, 2 usage.
    """
    # As Python does for a script, and for -m: what is beside it can be imported.
    is_file = module.endswith(".py") or os.sep in module
    sys.path.insert(0, os.path.dirname(os.path.abspath(module)) if is_file else os.getcwd())
    from twbridge.rpc.serving import Serving, serve
    from twbridge.rpc.worker import WorkerOptions

    serve(Serving(module, broker, forks, WorkerOptions(concurrency, drain, start), settings))
