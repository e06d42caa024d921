"""The ``twbridge`` command. The bridge itself is started by ``twistd twbridge``."""

from __future__ import annotations

import click

from twbridge import __version__
from twbridge.cli.calling import call
from twbridge.cli.messages import pub, sub
from twbridge.cli.settings import check, config
from twbridge.cli.tasks import tasks
from twbridge.cli.worker import worker
from twbridge.cli.wsgi import wsgi_worker

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Looks at settings, subscribes and publishes, serves tasks and calls them.

    `twistd -n twbridge` starts the bridge.
    """


for _command in (call, check, config, sub, pub, tasks, worker, wsgi_worker):
    main.add_command(_command)
