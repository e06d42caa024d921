"""``twbridge check`` and ``twbridge config``: look at settings without starting anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import click
from pydantic import BaseModel, SecretStr

from twbridge.daemon import layers, loading
from twbridge.daemon.doubts import warnings
from twbridge.daemon.layers import Location
from twbridge.daemon.loading import Loaded, Mistakes
from twbridge.errors import SettingsError
from twbridge.settings import Settings


def _with_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of ``twistd twbridge``."""
    for name, (key, text) in reversed(list(layers.FLAGS.items())):
        command = click.option(
            f"--{name}",
            help=text,
            is_flag=key == ("embedded", "enabled"),
            multiple=layers.is_list(key[0]),
        )(command)
    return command


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
def check(file: str) -> None:
    """Say OK, or every mistake in FILE (exit code 1). The environment is left out.

    What is no mistake but hardly meant is a line on stderr before the OK.
    """
    for line in warnings(_load(layers.Layer(), {}, file).settings):
        click.echo(f"twbridge: {line}", err=True)
    click.echo("OK")


@click.command()
@_with_flags
@click.option("--config", help=layers.CONFIG_HELP, type=click.Path(dir_okay=False))
def config(config: str | None, **flags: Any) -> None:
    """Print the effective settings as TOML, passwords masked, and where each was set."""
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    loaded = _load(layers.from_flags(named), dict(os.environ), config)
    click.echo("\n".join(written(loaded)))


def _load(flags: layers.Layer, environ: dict[str, str], file: str | None) -> Loaded:
    try:
        return loading.load(flags, environ, file)
    except Mistakes as mistakes:
        for line in mistakes.lines:
            click.echo(f"twbridge: {line}", err=True)
        raise SystemExit(1) from None


def written(loaded: Loaded) -> Iterator[str]:
    """The settings as lines of TOML; keys without a value are comments, and so are warnings."""
    if not loaded.has_broker:
        yield "# no broker is named: twistd would refuse to start"
    for line in warnings(loaded.settings):
        yield f"# {line}"
    for section in Settings.model_fields:
        value = getattr(loaded.settings, section)
        tables = value if isinstance(value, tuple) else [value]
        heading = f"[[{section}]]" if isinstance(value, tuple) else f"[{section}]"
        if not tables:
            yield f"# {heading}: none\n"
        for index, table in enumerate(tables):
            yield heading
            location = (section, index) if isinstance(value, tuple) else (section,)
            yield from _table(location, table, loaded)
            yield ""


def _table(location: Location, table: BaseModel, loaded: Loaded) -> Iterator[str]:
    for name in type(table).model_fields:
        value = getattr(table, name)
        source = loaded.places.get((*location, name))
        place = f"  # {source}" if source else ""
        if value is None:
            yield f"# {name}: not set"
        elif isinstance(value, SecretStr):
            yield f"{name} = {_toml(masked(loaded.settings))}{place}"
        else:
            yield f"{name} = {_toml(value)}{place}"


def masked(settings: Settings) -> str:
    """The URL of the broker with ``***`` for its password."""
    try:
        parameters = settings.amqp.parameters()
    except SettingsError:
        return "***"
    return "" if parameters is None else str(parameters).replace("@", ":***@", 1)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    text = str(value) if isinstance(value, PurePath) else value
    return json.dumps(text, ensure_ascii=False)
