"""Finding the application: ``MODULE:APP``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from types import ModuleType
from typing import Any, Final

from twbridge.errors import TwbridgeError
from twbridge.rpc.executors.inside.loading import one_line
from twbridge.rpc.executors.pipe import MAX_TEXT
from twbridge.wsgi.inside.serving import Application
from twbridge.wsgi.pipe import Hello

__all__ = ["DEFAULTS", "load"]

#: What an application is called where nobody says it, the usual name first.
DEFAULTS: Final = ("application", "app")
_EXAMPLE: Final = "name it like site.wsgi:application or site/wsgi.py:create()"


class _Mistake(TwbridgeError):
    """There is no such application; the text says why."""


def load(name: str) -> tuple[Application | None, Hello]:
    """Import an application.

    Args:
        name: ``module:attribute``; the module may be a file (it ends with ``.py``, or has a slash);
            the attribute may have dots, or be a function to be called: ``create()``. Without one,
            it is what `DEFAULTS` name.

    Returns:
        The application, and what the worker is told: where there is no application, why.
    """
    try:
        place, attribute = _parted(name)
        module = _module(place)
        found = _attribute(module, place, attribute)
        if not callable(found):
            raise _Mistake(f"{name!r} is no WSGI application: it can't be called")
    except _Mistake as mistake:
        cause = mistake.__cause__
        place, dot, attribute = name.rpartition(".")
        if isinstance(cause, ModuleNotFoundError) and dot and ":" not in name:
            mistake = _Mistake(f"{mistake}; did you mean {place}:{attribute}?")
        text = None if cause is None else "".join(traceback.format_exception(cause))[-MAX_TEXT:]
        return None, Hello(str(mistake), text)
    return found, Hello()


def _parted(name: str) -> tuple[str, str]:
    place, colon, attribute = name.rpartition(":")
    if not colon:
        return name, ""
    if not place or not attribute:
        raise _Mistake(f"{name!r} is no name of an application: {_EXAMPLE}")
    return place, attribute


def _module(place: str) -> ModuleType:
    is_file = place.endswith(".py") or os.sep in place
    if is_file and os.path.isdir(place):
        raise _Mistake(f"{place!r} is a folder: {_EXAMPLE}")
    if is_file and not os.path.exists(place):
        raise _Mistake(f"there is no file {place!r}")
    if not is_file and not all(each.isidentifier() for each in place.split(".")):
        raise _Mistake(f"{place!r} is no name of a module: {_EXAMPLE}")
    try:
        return _load_file(place) if is_file else importlib.import_module(place)
    except BaseException as error:
        what = "file" if is_file else "module"
        raise _Mistake(f"the {what} {place!r} can't be imported: {one_line(error)}") from error


def _load_file(path: str) -> ModuleType:
    """Import a file under the name that an import of it beside it has, where that is free."""
    stem = os.path.basename(path).removesuffix(".py")
    name = f"twbridge_app_{stem}" if stem in sys.modules else stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, place: str, attribute: str) -> Any:
    name = attribute.removesuffix("()")
    if not attribute:
        for each in DEFAULTS:
            if hasattr(module, each):
                return getattr(module, each)
        raise _Mistake(f"{place!r} has neither 'application' nor 'app': {_EXAMPLE}")
    if not all(each.isidentifier() for each in name.split(".")):
        raise _Mistake(f"{attribute!r} is no name of an application: {_EXAMPLE}")
    found: Any = module
    try:
        for each in name.split("."):
            found = getattr(found, each)
    except AttributeError:
        raise _Mistake(f"{place!r} has no {name!r}") from None
    if name == attribute:
        return found
    try:
        return found()
    except BaseException as error:
        raise _Mistake(f"{attribute} of {place!r} has failed: {one_line(error)}") from error
