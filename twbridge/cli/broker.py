"""The options of commands that talk to the broker itself: ``worker``, ``call``, ``tasks``.

They find it where the bridge finds it (``daemon/loading.py``): flags over the environment over
the settings file, ``[amqp]`` and ``[log]`` alone of it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from twbridge.daemon import layers, loading
from twbridge.settings import Amqp, Log

if TYPE_CHECKING:
    from twbridge.amqp import Link, Parameters

__all__ = ["Broker", "find", "leave", "with_broker"]

NO_BROKER: Final = "there is no broker: name one with --amqp-url URL (or AMQP_URL)"
_FLAGS: Final = ("amqp-url", "amqp-url-file")


@dataclass(frozen=True)
class Broker:
    """Where the broker is, and how the link to it behaves. Its text holds no password.

    Attributes:
        amqp: the ``[amqp]`` settings in effect.
        url: the URL as it was given, password included: for the environment of a child only.
        parameters: the URL, read.
        config: the settings file that was named on the command line.
        log: the ``[log]`` settings in effect.
    """

    amqp: Amqp
    url: str = field(repr=False)
    parameters: Parameters
    config: str | None = None
    log: Log = field(default_factory=Log)

    def __str__(self) -> str:
        return str(self.parameters)

    def link(self, reactor: Any, name: str = "twbridge") -> Link:
        """A link that has not been started; `name` is how the broker's management shows it."""
        from twbridge.publishing import link_of

        return link_of(reactor, self.amqp, self.parameters, name)


def with_broker(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the broker's options, and a :class:`Broker` as its argument ``broker``.

    Mistakes in the settings are a line each on stderr, and so is no broker: exit code 1. Put it
    below ``@click.command()``.
    """

    @functools.wraps(command)
    def run(
        *args: Any,
        amqp_url: str | None,
        amqp_url_file: str | None,
        config: str | None,
        **options: Any,
    ) -> Any:
        flags = {"amqp-url": amqp_url, "amqp-url-file": amqp_url_file}
        return command(*args, broker=_found(flags, config), **options)

    wrapped: Callable[..., Any] = click.option(
        "--config", help=layers.CONFIG_HELP, type=click.Path(dir_okay=False)
    )(run)
    for name in reversed(_FLAGS):
        wrapped = click.option(f"--{name}", help=layers.FLAGS[name][1])(wrapped)
    return wrapped


def find(
    flags: Mapping[str, str | None], environ: Mapping[str, str], config: str | None = None
) -> Broker | None:
    """The broker that these sources name; None where they name none.

    Args:
        flags: ``amqp-url`` and ``amqp-url-file``, as on the command line.
        environ: ``os.environ``.
        config: path of the settings file.

    Raises:
        Mistakes: of the settings, all of them.
    """
    # The [amqp] section is all that counts: doubts about routes and rules are the bridge's.
    layer = layers.from_flags(flags)
    settings = loading.load(layer, environ, config, doubts=False).settings
    amqp = settings.amqp
    parameters = amqp.parameters()
    if parameters is None:
        return None
    if amqp.url is not None:
        text = amqp.url.get_secret_value()
    else:
        assert amqp.url_file is not None  # and it was just read
        text = amqp.url_file.read_text()
    return Broker(amqp, text.strip(), parameters, config, settings.log)


def leave(line: str) -> NoReturn:
    """Say why on stderr, and end with exit code 1."""
    click.echo(f"twbridge: {line}", err=True)
    raise SystemExit(1)


def _found(flags: Mapping[str, str | None], config: str | None) -> Broker:
    try:
        broker = find(flags, os.environ, config)
    except loading.Mistakes as mistakes:
        for line in mistakes.lines:
            click.echo(f"twbridge: {line}", err=True)
        raise SystemExit(1) from None
    return broker or leave(NO_BROKER)
