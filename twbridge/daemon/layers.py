"""What each source of settings says: flags, environment, file, read into one form."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from twbridge import settings as tree

Key = tuple[str, ...]
Location = tuple[int | str, ...]
"""A key in the tree, with the number of the entry where its section is a list:
``("listen", 0, "origins")``. A list as a whole is ``("listen",)``."""

PREFIX = "TWBRIDGE_"
FILE_VARIABLE = "TWBRIDGE_CONFIG"
"""Names the file where there is no ``--config``."""
URL_VARIABLE = "TWBRIDGE_URL"
"""Names the bridge for ``twbridge sub`` and ``twbridge pub``."""
CLIENT_VARIABLES = frozenset({URL_VARIABLE})
"""What the commands that are clients read: no settings, and no mistakes."""
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
    "auth": (
        ("auth", "method"),
        "Who knows the users' passwords: none, file (see auth.file) or amqp, the broker.",
    ),
    "log-format": (("log", "format"), "text or json."),
    "log-level": (("log", "level"), "debug, info, warn, error or critical."),
}
"""The flags of ``twistd twbridge`` and of ``twbridge config``, each with its key and its help."""
ALIASES: Mapping[str, Key] = {
    "compress": ("websocket", "deflate"),
    "compression": ("websocket", "deflate"),
    "permessage_deflate": ("websocket", "deflate"),
}
"""Names that others give to what is a key here."""
CONFIG_HELP = "TOML file with settings; flags and the environment come before it."
BROKER: tuple[Key, ...] = (("amqp", "url"), ("amqp", "url_file"), ("embedded", "enabled"))
"""The keys of one decision: see ``loading.py``."""


@dataclass(frozen=True)
class Layer:
    """What one source says: values by section and key, and the name of each one's place."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Location, str] = field(default_factory=dict)
    #: The place of keys that ``places`` does not name.
    place: str = ""

    def put(self, key: Key, value: Any, place: str) -> None:
        """Set the value of a key, in the first entry where its section is a list."""
        section, name = key
        if is_list(section):
            self.values.setdefault(section, [{}])[0][name] = value
            self.places[section, 0, name] = place
        else:
            self.values.setdefault(section, {})[name] = value
            self.places[key] = place

    def put_section(self, section: str, value: Any, place: str) -> None:
        """Set a whole section, whatever its form."""
        self.values[section] = value
        self.places.update(dict.fromkeys(_locations(section, value), place))

    def names(self, key: Key) -> bool:
        """Whether it says something about the key; a false ``embedded.enabled`` says nothing."""
        section = self.values.get(key[0])
        value = section.get(key[1]) if isinstance(section, dict) else None
        return value is not None and (key != BROKER[2] or value is not False)

    def without(self, keys: Iterable[Key]) -> dict[str, Any]:
        """The values but those."""
        values = {k: dict(v) if isinstance(v, dict) else v for k, v in self.values.items()}
        for section, name in keys:
            if isinstance(values.get(section), dict):
                values[section].pop(name, None)
        return values


def is_list(section: str) -> bool:
    """Whether it is an array of tables, ``[[listen]]``."""
    known = tree.Settings.model_fields.get(section)
    return known is not None and isinstance(known.default, tuple)


def _locations(section: str, value: Any) -> Iterator[Location]:
    if is_list(section):
        yield (section,)
        for index, entry in enumerate(value if isinstance(value, list) else ()):
            if isinstance(entry, dict):
                yield from ((section, index, name) for name in entry)
    elif isinstance(value, dict):
        yield from ((section, name) for name in value)


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
    """The flags of a command line, by name; None, False and no entry at all mean: not given."""
    layer = Layer(place="command line")
    for name, (key, _) in FLAGS.items():
        given = values.get(name)
        if not given and given != "":
            continue
        if is_list(key[0]):
            layer.put_section(key[0], [{key[1]: each} for each in given], f"--{name}")
        else:
            # What takes no value is 1 for twistd.
            layer.put(key, given if isinstance(given, str) else bool(given), f"--{name}")
    return layer


def from_environment(environ: Mapping[str, str], mistakes: list[str]) -> Layer:
    """The ``TWBRIDGE_`` variables. A list may be given whole, as JSON: ``TWBRIDGE_ROUTE``."""
    layer = Layer(place="environment")
    keys = {variable(key): key for key in known_keys()}
    lists = {PREFIX + s.upper(): s for s in tree.Settings.model_fields if is_list(s)}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        value = environ[name]
        if name == FILE_VARIABLE or name in CLIENT_VARIABLES or not value:
            continue
        if name in keys:
            section, key = keys[name]
            layer.put((section, key), _decoded(entry_of(section), key, value), name)
        elif name in lists:
            layer.put_section(lists[name], _json_or_text(value), name)
        else:
            mistakes.append(no_setting(name, _nearest_variable(name, [*lists, FILE_VARIABLE])))
    return layer


def _decoded(section: type[BaseModel], name: str, text: str) -> Any:
    """A list may be separated by commas, a table is JSON; pydantic reads the rest from text.

    But not booleans: files have them, so there only true and false are right.
    """
    annotation = section.model_fields[name].annotation
    if annotation is bool:
        try:
            return TypeAdapter(bool).validate_python(text)
        except ValidationError:
            return text
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
            layer.put(key, _decoded(entry_of(key[0]), key[1], value), prefix + suffix)
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
    layer = Layer(place=path)
    for section, value in values.items():
        layer.put_section(section, value, path)
    return layer


def no_setting(named: str, near: str | None) -> str:
    """The mistake that there is no such key or variable."""
    return f"{named} is not a setting" + (f"; the nearest one is {near}" if near else "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is the most like another, if one is."""
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)


def nearest_key(section: str, name: str) -> Key | None:
    """The key that an unknown one of a known section was meant to be, if one is near.

    The names are compared without their section: what all of them share makes nothing near.
    """
    known = known_keys()
    near = next((key for key in known if key[1] == name), ALIASES.get(name))
    for keys in ([key for key in known if key[0] == section], known):
        if near is None:
            alike = nearest(name, (key[1] for key in keys))
            near = next((key for key in keys if key[1] == alike), None)
    return near


def _nearest_variable(name: str, others: list[str]) -> str | None:
    rest = name.removeprefix(PREFIX)
    section = next((s for s in tree.Settings.model_fields if rest.lower().startswith(f"{s}_")), "")
    key = nearest_key(section, rest[len(section) + 1 :].lower()) if section else None
    if key:
        return variable(key)
    known = {each.removeprefix(PREFIX): each for each in [*map(variable, known_keys()), *others]}
    return known.get(nearest(rest, known) or "") if not section else None
