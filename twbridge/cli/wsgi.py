"""``twbridge wsgi-worker``: serve a WSGI application.

What it does is imported when it does it.
"""

from __future__ import annotations

import os
import sys

import click

from twbridge import setting_values as values
from twbridge.cli.broker import Broker, leave, with_broker
from twbridge.cli.seconds import Seconds
from twbridge.rpc.children import START_TIMEOUT

__all__ = ["wsgi_worker"]


@click.command("wsgi-worker")
@click.argument("app", metavar="MODULE:APP")
@click.option(
    "--mount",
    default="/app",
    show_default=True,
    metavar="PATH",
    help="Below which path of the bridge it is.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="How many processes run it; one that ends is replaced.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="How many requests each of them runs at once.",
)
@click.option(
    "--drain",
    type=Seconds(min=0.0),
    default=30.0,
    show_default=True,
    help="Seconds that the requests that run have to end, once it is told to stop.",
)
@click.option(
    "--start",
    type=Seconds(min=0.0, min_open=True),
    default=START_TIMEOUT,
    show_default=True,
    help="Seconds that each process has to import the application.",
)
@with_broker
def wsgi_worker(
    app: str,
    broker: Broker,
    mount: str,
    processes: int,
    threads: int,
    drain: float,
    start: float,
) -> None:
    """Serve the WSGI application APP of MODULE, the name of a module or a file (*.py).

    Without :APP it is `application` or `app`; with brackets, as in `shop:create_app()`, it is what
    that function returns. HTTP comes from bridges, by way of the broker.

    SIGTERM and SIGINT have it take no more requests and let those that run end; a second one ends
    them.

    Exit codes: 0 after a signal, 1 it can't begin, 2 usage.
    """
    mount = _checked(mount)
    # As Python does for a script, and for -m: what is beside it can be imported.
    module = app.partition(":")[0]
    is_file = module.endswith(".py") or os.sep in module
    sys.path.insert(0, os.path.dirname(os.path.abspath(module)) if is_file else os.getcwd())
    from twbridge.wsgi.serving import Serving, serve
    from twbridge.wsgi.worker import WorkerOptions

    serve(Serving(app, broker, processes, threads, WorkerOptions(mount, drain), start))


def _checked(mount: str) -> str:
    """The path without a slash at its end."""
    try:
        return values.is_mount(mount)
    except ValueError as error:
        leave(f"the mount {mount!r} {error}")
