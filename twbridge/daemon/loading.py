"""Where settings come from: flags over the environment over a TOML file over the defaults.

The environment has a variable for every key, ``TWBRIDGE_<SECTION>_<KEY>``, and under those the
names that other AMQP programs use: ``AMQP_URL``, ``RABBITMQ_TIMEOUT``. An empty variable is not
set. The broker is one decision: the first source that names a URL, a file with one, or the
embedded broker decides, and what others say of the three is not used.

All mistakes are found at once, and each is one line with the key, where it was set, and the
nearest known key where it is unknown. No line holds the value of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from twisted.logger import Logger

from twbridge import setting_values as values
from twbridge import settings as tree
from twbridge.auth import htpasswd
from twbridge.daemon import listeners
from twbridge.daemon.doubts import warnings
from twbridge.daemon.layers import (
    BORROWED_PREFIXES,
    BROKER,
    FILE_VARIABLE,
    Key,
    Layer,
    Location,
    entry_of,
    from_borrowed,
    from_environment,
    from_file,
    is_list,
    nearest,
    nearest_key,
    no_setting,
    variable,
)
from twbridge.errors import SettingsError
from twbridge.link import endpoints

_log = Logger()

_TYPES = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "secret_type": "must be a text",
}
_MEANT = {
    "must be a valid integer": "must be a whole number",
    "must be a valid boolean": "must be true or false",
}
_EXAMPLES = {
    "listen": "endpoint",
    "route": "publish",
    "mount": "path",
    "exchange": "name",
    "stream": "name",
    "allow": "operation",
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
    """The effective settings, and where each was set (the others have their default)."""

    settings: tree.Settings
    places: Mapping[Location, str]

    @property
    def has_broker(self) -> bool:
        """Whether a broker is named; without one, twistd refuses to start."""
        amqp = self.settings.amqp
        return bool(amqp.url or amqp.url_file or self.settings.embedded.enabled)


def load(
    flags: Layer | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | None = None,
    *,
    doubts: bool = True,
) -> Loaded:
    """Put the sources together.

    What ``warnings`` finds is logged where there is a command line: it is the bridge that starts,
    unless ``doubts`` is false.

    Args:
        flags: what the command line says; None where there is none.
        environ: ``os.environ``, or nothing.
        file: path of the TOML file; ``TWBRIDGE_CONFIG`` where it is None.

    Raises:
        Mistakes: all of them.
    """
    environ = environ or {}
    mistakes: list[str] = []
    own = [flags or Layer(place="command line"), from_environment(environ, mistakes)]
    borrowed = [from_borrowed(environ, prefix) for prefix in BORROWED_PREFIXES]
    if file == "":
        mistakes.append("the name of the settings file is empty")
    path = environ.get(FILE_VARIABLE) if file is None else file
    files = [from_file(path, mistakes)] if path else []
    layers = [*own, *borrowed, *files]
    mistakes += [_two_brokers(layer) for layer in layers if _names_two_brokers(layer)]
    # A mistake is one even where another source decides. But borrowed variables may be for
    # other programs, which read them in another way.
    for layer in (*own, *files):
        mistakes += _wrong([layer])
    mistakes += _wrong(layers)
    places = _places(layers)
    loaded = Loaded(_readable(layers) if mistakes else _merge(layers), places)
    mistakes += _beyond(loaded.settings, places)
    if mistakes:
        raise Mistakes(list(dict.fromkeys(mistakes)))
    if flags is not None and doubts:
        for line in warnings(loaded.settings):
            _log.warn("{line}", line=line)
    return loaded


def _places(layers: list[Layer]) -> dict[Location, str]:
    """Of what is used: a list comes whole from one source, and so does the broker."""
    places: dict[Location, str] = {}
    decided = False
    for layer in layers:
        lists = {location[0] for location in places if is_list(str(location[0]))}
        for location, place in layer.places.items():
            if location[0] not in lists and not (decided and location in BROKER):
                places.setdefault(location, place)
        decided = decided or any(layer.names(key) for key in BROKER)
    return places


def _wrong(layers: list[Layer]) -> list[str]:
    try:
        _merge(layers)
    except ValidationError as error:
        lines = [_line(details, _places(layers), layers) for details in error.errors()]
        # Pydantic looks at lists as a whole only where all their entries are right.
        lines += values.twice(
            {section: _names(layers, section, name) for section, name in tree.NAMED_BY.items()}
        )
        return [line for each in lines for line in each.splitlines()]
    return []


def _entries(layers: list[Layer], section: str) -> list[Any]:
    """The entries of a list, of the source that decides about it, right or wrong."""
    given = next((layer.values[section] for layer in layers if section in layer.values), None)
    return given if isinstance(given, list) else []


def _names(layers: list[Layer], section: str, name: str) -> list[str]:
    default = entry_of(section).model_fields[name].default
    entries = _entries(layers, section)
    found = [each.get(name, default) for each in entries if isinstance(each, dict)]
    return [each for each in found if isinstance(each, str)]


def _readable(layers: list[Layer]) -> tree.Settings:
    """What ``_beyond`` looks at, where something else is wrong."""
    brokers = []
    for layer in layers:
        said = {key: layer.values[key[0]][key[1]] for key in BROKER if layer.names(key)}
        broker = Layer()
        for key, value in said.items():
            if value and isinstance(value, bool if key == BROKER[2] else str):
                broker.put(key, value, "")
        brokers.append(broker)
    listen = []
    for entry in _entries(layers, "listen"):
        endpoint = entry.get("endpoint") if isinstance(entry, dict) else None
        listen.append(
            tree.Listen(endpoint=endpoint) if isinstance(endpoint, str) else tree.Listen()
        )
    return tree.Settings.model_construct(amqp=_merge(brokers).amqp, listen=tuple(listen))


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
    one, other = layer.places[url], layer.places[BROKER[2]]
    both = f"{one} and {other}"
    if one == other:
        both = f"{'.'.join(url)} and {'.'.join(BROKER[2])} ({one})"
    return f"{both} exclude each other: a broker to connect to, or the embedded one"


def _beyond(settings: tree.Settings, places: Mapping[Location, str]) -> list[str]:
    """Mistakes that only show outside: in the URL, its file, and the certificates it names."""
    mistakes = []
    try:
        parameters = settings.amqp.parameters()
        if parameters is not None:
            endpoints.check(parameters)
    except SettingsError as error:
        key = ("amqp", "url" if settings.amqp.url else "url_file")
        mistakes.append(f"{_named(key, places)}: {str(error).removeprefix('AMQP URL: ')}")
    mistakes += _wrong_auth(settings.auth, places)
    for index, listen in enumerate(settings.listen):
        try:
            listeners.check(listen.endpoint)
        except SettingsError as error:
            mistakes.append(f"{_named(('listen', index, 'endpoint'), places)}: {error}")
    return mistakes


def _wrong_auth(auth: tree.Auth, places: Mapping[Location, str]) -> list[str]:
    """Mistakes in the file of users, and one that is missing or of no use."""
    if auth.method == "file" and auth.file is None:
        return [f"{_named(('auth', 'method'), places)} is file: auth.file must name one"]
    if auth.file is None:
        return []
    named = _named(("auth", "file"), places)
    if ("auth", "method") not in places:
        # Who names users thinks that they log in.
        return [f'{named} needs auth.method = "file"']
    try:
        if auth.method == "file":
            htpasswd.read(auth.file)
    except SettingsError as error:
        return [f"{named}: {error}"]
    return []


def _line(details: ErrorDetails, places: Mapping[Location, str], layers: list[Layer]) -> str:
    """One mistake that pydantic found."""
    location = details["loc"]
    key = tuple(str(part) for part in location if isinstance(part, str))[:2]
    if not key:
        return details["msg"].removeprefix("Value error, ")
    named = _named(location, places)
    if details["type"] == "extra_forbidden":
        if len(key) == 1:
            return no_setting(
                named if _place(location, places) else f"{named} (in {layers[-1].place})",
                nearest(key[0], tree.Settings.model_fields),
            )
        near = nearest_key(*key)
        return no_setting(named, ".".join(near) if near else None)
    if details["type"] == "missing":
        return f"{named} is missing"
    if details["type"] == "tuple_type" and len(location) == 1:
        from_variable = _place(location, places) == variable(key)
        return f"{named} {_list_sentence(key[0], details['input'], from_variable)}"
    return f"{named} {_sentence(details, key)}"


def _list_sentence(section: str, given: Any, from_variable: bool) -> str:
    if from_variable:
        return f'must be a JSON list like [{{"{_EXAMPLES[section]}": ...}}]'
    sentence = f"must be a list: write [[{section}]]"
    return f"{sentence}, not [{section}]" if isinstance(given, dict) else sentence


def _sentence(details: ErrorDetails, key: Key) -> str:
    if details["type"] == "value_error":
        text = details["msg"].removeprefix("Value error, ")
        return text if text.startswith("must") else f"is wrong: {text}"
    if details["type"] in _TYPES:
        return _TYPES[details["type"]]
    text = details["msg"].replace("Input should be", "must be", 1)
    text = re.sub(", (unable to|got a) .*", "", text)
    text = _MEANT.get(text, text)
    given = details["input"]
    # A URL that is in the wrong place is still a secret.
    shown = isinstance(given, int | float) or (
        isinstance(given, str)
        and (key[0] != "amqp" or re.fullmatch(r"[\w.+-]{0,12}", given) is not None)
    )
    return f"{text}, not {_shown(given)}" if shown else text


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, int | float) else ascii(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _place(location: Location, places: Mapping[Location, str]) -> str | None:
    exact = location[:3] if is_list(str(location[0])) else location[:2]
    return places.get(exact) or places.get(location[:1])


def _named(location: Location, places: Mapping[Location, str]) -> str:
    """The key and where it was set: ``listen[1].endpoint (bridge.toml)``."""
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    place = _place(location, places)
    return f"{dotted[1:]} ({place})" if place else dotted[1:]
