"""Where settings come from: flags over the environment over a TOML file over the defaults.

The environment has a variable for every key, ``TWBRIDGE_<SECTION>_<KEY>``, and under those the
names that other AMQP programs use: ``AMQP_URL``, ``RABBITMQ_TIMEOUT``. An empty variable is not
set. The broker is one decision: the first source that names a URL, a file with one, or the
embedded broker decides, and what others say of the three is not used.

All mistakes are found at once, and each is one line with the key, where it was set, and the
nearest known key where it is unknown. No line holds the value of a secret.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from twbridge import settings as tree
from twbridge.daemon import listeners
from twbridge.errors import SettingsError
from twbridge.link import endpoints

Key = tuple[str, ...]

PREFIX = "TWBRIDGE_"
FILE_VARIABLE = "TWBRIDGE_CONFIG"
"""Names the file where there is no ``--config``."""
BORROWED_PREFIXES = ("AMQP_", "RABBITMQ_")
"""In order: ``AMQP_URL`` is read before ``RABBITMQ_URL``."""
BORROWED: Mapping[str, Key] = {
    "URL": ("amqp", "url"),
    "TIMEOUT": ("amqp", "timeout"),
    "RECONNECT_DELAY": ("amqp", "reconnect_cap"),
    "CONNECTION_ATTEMPTS": ("amqp", "connection_attempts"),
    "CONFIRMATIONS": ("amqp", "confirmations"),
}
FLAGS: Mapping[str, tuple[Key, str]] = {
    "amqp-url": (
        ("amqp", "url"),
        "URL of the broker. Its password shows in the process list: prefer --amqp-url-file or "
        "the variable AMQP_URL.",
    ),
    "amqp-url-file": (("amqp", "url_file"), "File that holds the URL of the broker."),
    "listen": (("listen", "endpoint"), "Where clients connect to; may be repeated."),
    "embedded": (("embedded", "enabled"), "Use a broker inside this process, to try it out."),
    "log-format": (("log", "format"), "text or json."),
    "log-level": (("log", "level"), "debug, info, warn, error or critical."),
}
"""The flags of ``twistd twbridge`` and of ``twbridge config``, each with its key and its help."""
CONFIG_HELP = "TOML file with settings; flags and the environment come before it."
_BROKER: tuple[Key, ...] = (("amqp", "url"), ("amqp", "url_file"), ("embedded", "enabled"))
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
class Layer:
    """What one source says: values by section and key, and the name of the place of each key."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)
    #: The place of keys that ``places`` does not name.
    place: str = ""

    def put(self, key: Key, value: Any, place: str) -> None:
        """Set the value of a key, in the first entry where its section is a list."""
        section, name = key
        if is_list(section):
            self.values.setdefault(section, [{}])[0][name] = value
        else:
            self.values.setdefault(section, {})[name] = value
        self.places[key] = place

    def names(self, key: Key) -> bool:
        """Whether it says something about the key; a false ``embedded.enabled`` says nothing."""
        section = self.values.get(key[0])
        value = section.get(key[1]) if isinstance(section, dict) else None
        return value is not None and (key != _BROKER[2] or value not in (False, "false", "0"))

    def without(self, keys: Iterator[Key]) -> dict[str, Any]:
        """The values but those."""
        values = {k: dict(v) if isinstance(v, dict) else v for k, v in self.values.items()}
        for section, name in keys:
            if isinstance(values.get(section), dict):
                values[section].pop(name, None)
        return values


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
    layers = [flags or Layer(place="command line"), from_environment(environ, mistakes)]
    layers += [from_borrowed(environ, prefix) for prefix in BORROWED_PREFIXES]
    path = file or environ.get(FILE_VARIABLE)
    if path:
        layers.append(from_file(path, mistakes))
    mistakes += [_two_brokers(layer) for layer in layers if _names_two_brokers(layer)]
    places = {key: place for layer in reversed(layers) for key, place in layer.places.items()}
    try:
        settings = _merge(layers)
    except ValidationError as error:
        mistakes += [_line(details, places, layers) for details in error.errors()]
    else:
        mistakes += _beyond(settings, places)
    if mistakes:
        raise Mistakes(list(dict.fromkeys(mistakes)))
    return Loaded(settings, places)


class _Source(PydanticBaseSettingsSource):
    """A layer as a source: silent about the broker where a source before it has decided."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def __call__(self) -> dict[str, Any]:
        decided = Layer(self.current_state)
        if any(decided.names(key) for key in _BROKER):
            return self._layer.without(iter(_BROKER))
        if self._layer.names(_BROKER[0]):
            return self._layer.without(iter(_BROKER[1:2]))
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


def is_list(section: str) -> bool:
    """Whether it is an array of tables, ``[[listen]]``."""
    default = tree.Settings.model_fields[section].default
    return isinstance(default, tuple)


def entry_of(section: str) -> type[BaseModel]:
    """The class of a section, or of its entries."""
    annotation: Any = tree.Settings.model_fields[section].annotation
    if is_list(section):
        annotation = annotation.__args__[0]
    return annotation  # type: ignore[no-any-return]


def known_keys() -> list[Key]:
    """Every key that there is."""
    return [
        (section, name)
        for section in tree.Settings.model_fields
        for name in entry_of(section).model_fields
    ]


def variable(key: Key) -> str:
    """The environment variable of a key."""
    return PREFIX + "_".join(key).upper()


def from_flags(values: Mapping[str, Any]) -> Layer:
    """The flags of a command line, by name; what is None, False or empty was not given."""
    layer = Layer(place="command line")
    for name, (key, _) in FLAGS.items():
        given = values.get(name)
        if not given:
            continue
        if is_list(key[0]):
            layer.values[key[0]] = [{key[1]: each} for each in given]
            layer.places[key] = f"--{name}"
        else:
            layer.put(key, given, f"--{name}")
    return layer


def from_environment(environ: Mapping[str, str], mistakes: list[str]) -> Layer:
    """The ``TWBRIDGE_`` variables. A list may be given whole, as JSON: ``TWBRIDGE_ROUTE``."""
    layer = Layer(place="environment")
    keys = {variable(key): key for key in known_keys()}
    lists = {PREFIX + s.upper(): s for s in tree.Settings.model_fields if is_list(s)}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        value = environ[name]
        if name == FILE_VARIABLE or not value:
            continue
        if name in keys:
            section, key = keys[name]
            layer.put((section, key), _decoded(entry_of(section), key, value), name)
        elif name in lists:
            layer.values[lists[name]] = _json_or_text(value)
            layer.places[(lists[name],)] = name
        else:
            near = _nearest(name, [*keys, *lists, FILE_VARIABLE])
            mistakes.append(f"{name} is not a setting; the nearest one is {near}")
    return layer


def _decoded(section: type[BaseModel], name: str, text: str) -> Any:
    """A list may be separated by commas, a table is JSON; pydantic reads the rest from text."""
    annotation = section.model_fields[name].annotation
    origin = getattr(annotation, "__origin__", None)
    if origin is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    return _json_or_text(text) if origin in (tuple, dict) else text


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def from_borrowed(environ: Mapping[str, str], prefix: str) -> Layer:
    """The variables that other AMQP programs use; those that we don't know are theirs."""
    layer = Layer(place="environment")
    for suffix, key in BORROWED.items():
        value = environ.get(prefix + suffix)
        if value:
            layer.put(key, value, prefix + suffix)
    return layer


def from_file(path: str, mistakes: list[str]) -> Layer:
    """A TOML file; empty, with a mistake, where it can't be read."""
    values: dict[str, Any] = {}
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        mistakes.append(f"{path} can't be read: {error.strerror}")
    except UnicodeDecodeError:
        mistakes.append(f"{path} is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{path} is not valid TOML: {error}")
    places: dict[Key, str] = {
        (section, name): path
        for section, table in values.items()
        for entry in (table if isinstance(table, list) else [table])
        if isinstance(entry, dict)
        for name in entry
    }
    return Layer(values, places, path)


def _names_two_brokers(layer: Layer) -> bool:
    return layer.names(_BROKER[2]) and any(layer.names(key) for key in _BROKER[:2])


def _two_brokers(layer: Layer) -> str:
    url = next(key for key in _BROKER[:2] if layer.names(key))
    return (
        f"{layer.places.get(url, '.'.join(url))} and "
        f"{layer.places.get(_BROKER[2], '.'.join(_BROKER[2]))} exclude each other: "
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
        near = _nearest(dotted, same_name or known)
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


def _nearest(name: str, known: list[str]) -> str:
    return difflib.get_close_matches(name, known, 1, 0.0)[0]
