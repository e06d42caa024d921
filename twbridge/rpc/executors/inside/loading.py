"""Importing the module of the tasks."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback

from twbridge.rpc.executors.pipe import MAX_TEXT, Hello
from twbridge.rpc.tasks import registry

__all__ = ["FILE_NAME", "load", "one_line"]

#: The name of a module that is loaded from a file: not ``__main__``, so that what is below
#: ``if __name__ == "__main__":`` does not run; multiprocessing's, so that its own children agree.
FILE_NAME = "__mp_main__"
#: Characters of the line that says why a module can't be imported.
_LINE = 1000


def load(module: str) -> Hello:
    """Import a module, or a file (``*.py``, or with a slash), and say which tasks it has."""
    is_file = module.endswith(".py") or os.sep in module
    mistake = _mistake(module, is_file)
    if mistake is not None:
        return Hello([], mistake)
    try:
        if is_file:
            _load_file(module)
        else:
            importlib.import_module(module)
    except BaseException as error:
        what = "file" if is_file else "module"
        line = f"the {what} {module!r} can't be imported: {one_line(error)}"
        return Hello([], line, "".join(traceback.format_exception(error))[-MAX_TEXT:])
    return Hello([each.options for each in registry.tasks.values()])


def _mistake(module: str, is_file: bool) -> str | None:
    """What is wrong with the name, where nothing has to be imported to see it."""
    example = "name a module (shop.tasks) or a file (shop/tasks.py)"
    if is_file and os.path.isdir(module):
        return f"{module!r} is a folder: {example}"
    if is_file and not os.path.exists(module):
        return f"there is no file {module!r}"
    if not is_file and not all(module.split(".")):
        return f"{module!r} is no name of a module: {example}"
    return None


def _load_file(path: str) -> None:
    spec = importlib.util.spec_from_file_location(FILE_NAME, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # As multiprocessing does: what was pickled as a part of __main__ is found.
    sys.modules[FILE_NAME] = sys.modules["__main__"] = module
    spec.loader.exec_module(module)


def one_line(error: BaseException) -> str:
    """The class and the text of an exception."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:_LINE]
