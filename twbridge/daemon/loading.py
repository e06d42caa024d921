"""Where settings come from: flags over the environment over a TOML file over the defaults.

The environment has a variable for every key, ``TWBRIDGE_<SECTION>_<KEY>``, and under those the
names that other AMQP programs use: ``AMQP_URL``, ``RABBITMQ_TIMEOUT``. An empty variable is not
set. The broker is one decision: the first source that names a URL, a file with one, or the
embedded broker decides, and what others say of the three is not used.

All mistakes are found at once, and each is one line with the key, where it was set, and the
nearest known key where it is unknown. No line holds the value of a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from twbridge import settings as tree
from twbridge.daemon import listeners
from twbridge.daemon.layers import (
    BORROWED_PREFIXES,
    BROKER,
    FILE_VARIABLE,
    Key,
    Layer,
    from_borrowed,
    from_environment,
    from_file,
    known_keys,
    nearest,
)
from twbridge.errors import SettingsError
from twbridge.link import endpoints

_TYPES = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "secret_type": "must be a text",
}


class Mistakes(SettingsError):
    """Everything that is wrong with the settings.

    Attributes:
        lines: one for each mistake; the text of the error is all of them.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


@dataclass(frozen=True)
class Loaded:
    """The effective settings, and where each key was set (the others have their default)."""

    settings: tree.Settings
    places: Mapping[Key, str]


def load(
    flags: Layer | None = None, environ: Mapping[str, str] | None = None, file: str | None = None
) -> Loaded:
    """Put the sources together.

    Args:
        flags: what the command line says.
        environ: ``os.environ``, or nothing.
        file: path of the TOML file; ``TWBRIDGE_CONFIG`` where it is None.

    Raises:
        Mistakes: all of them.
    """
    environ = environ or {}
    mistakes: list[str] = []
    own = [flags or Layer(place="command line"), from_environment(environ, mistakes)]
    borrowed = [from_borrowed(environ, prefix) for prefix in BORROWED_PREFIXES]
    path = file or environ.get(FILE_VARIABLE)
    files = [from_file(path, mistakes)] if path else []
    layers = [*own, *borrowed, *files]
    mistakes += [_two_brokers(layer) for layer in layers if _names_two_brokers(layer)]
    # A mistake is one even where another source decides. But borrowed variables may be for
    # other programs, which read them in another way.
    for layer in (*own, *files):
        mistakes += _wrong([layer])
    mistakes += _wrong(layers)
    if not mistakes:
        loaded = Loaded(_merge(layers), _places(layers))
        mistakes += _beyond(loaded.settings, loaded.places)
    if mistakes:
        raise Mistakes(list(dict.fromkeys(mistakes)))
    return loaded


def _places(layers: list[Layer]) -> dict[Key, str]:
    return {key: place for layer in reversed(layers) for key, place in layer.places.items()}


def _wrong(layers: list[Layer]) -> list[str]:
    try:
        _merge(layers)
    except ValidationError as error:
        return [_line(details, _places(layers), layers) for details in error.errors()]
    return []


class _Source(PydanticBaseSettingsSource):
    """A layer as a source: silent about the broker where a source before it has decided."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def __call__(self) -> dict[str, Any]:
        decided = Layer(self.current_state)
        if any(decided.names(key) for key in BROKER):
            return self._layer.without(iter(BROKER))
        if self._layer.names(BROKER[0]):
            return self._layer.without(iter(BROKER[1:2]))
        return self._layer.values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._layer.values.get(field_name), field_name, False


def _merge(layers: list[Layer]) -> tree.Settings:
    class Sourced(tree.Settings):
        @classmethod
        def settings_customise_sources(  # type: ignore[override]
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            **_: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_Source(settings_cls, layer) for layer in layers)

    return Sourced()


def _names_two_brokers(layer: Layer) -> bool:
    return layer.names(BROKER[2]) and any(layer.names(key) for key in BROKER[:2])


def _two_brokers(layer: Layer) -> str:
    url = next(key for key in BROKER[:2] if layer.names(key))
    return (
        f"{layer.places.get(url, '.'.join(url))} and "
        f"{layer.places.get(BROKER[2], '.'.join(BROKER[2]))} exclude each other: "
        "a broker to connect to, or the embedded one"
    )


def _beyond(settings: tree.Settings, places: Mapping[Key, str]) -> list[str]:
    """Mistakes that only show outside: in the URL, its file, and the certificates it names."""
    mistakes = []
    try:
        parameters = settings.amqp.parameters()
        if parameters is not None:
            endpoints.check(parameters)
    except SettingsError as error:
        key = ("amqp", "url" if settings.amqp.url else "url_file")
        mistakes.append(f"{_named(key, key, places)}: {str(error).removeprefix('AMQP URL: ')}")
    for index, listen in enumerate(settings.listen):
        try:
            listeners.check(listen.endpoint)
        except SettingsError as error:
            location = ("listen", index, "endpoint")
            mistakes.append(f"{_named(('listen', 'endpoint'), location, places)}: {error}")
    return mistakes


def _line(details: ErrorDetails, places: Mapping[Key, str], layers: list[Layer]) -> str:
    """One mistake that pydantic found."""
    location = details["loc"]
    key = tuple(str(part) for part in location if isinstance(part, str))[:2]
    if not key:
        return details["msg"].removeprefix("Value error, ")
    dotted = ".".join(key)
    named = _named(key, location, places)
    if details["type"] == "extra_forbidden":
        known = [".".join(each) for each in known_keys()]
        same_name = [each for each in known if each.endswith(f".{key[-1]}")]
        if len(key) == 1:
            known += tree.Settings.model_fields
        where = "" if places.get(key) else f" (in {layers[-1].place})"
        near = nearest(dotted, same_name or known)
        return f"{named}{where} is not a setting; the nearest one is {near}"
    if details["type"] == "missing":
        return f"{named} is missing"
    return f"{named} {_sentence(details, key)}"


def _sentence(details: ErrorDetails, key: Key) -> str:
    if details["type"] == "value_error":
        text = details["msg"].removeprefix("Value error, ")
        return text if text.startswith("must") else f"is wrong: {text}"
    if details["type"] in _TYPES:
        return _TYPES[details["type"]]
    text = details["msg"].replace("Input should be", "must be", 1).partition(", unable to")[0]
    given = details["input"]
    # A URL that is in the wrong place is still a secret.
    shown = isinstance(given, int | float) or (
        isinstance(given, str) and (key[0] != "amqp" or given.strip("+-").isdecimal())
    )
    return f"{text}, not {_shown(given)}" if shown else text


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, bool | int | float) else ascii(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _named(key: Key, location: tuple[int | str, ...], places: Mapping[Key, str]) -> str:
    """The key and where it was set: ``listen[1].endpoint (bridge.toml)``."""
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    place = places.get(key) or places.get(key[:1])
    return f"{dotted[1:]} ({place})" if place else dotted[1:]
