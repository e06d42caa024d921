"""An application that notes in a file when its process ends in order."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable
from typing import Any

from tests.wsgi.modules import small


def note() -> None:
    with open(os.environ["ENDS"], "a") as file:
        file.write(f"{os.getpid()}\n")


atexit.register(note)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/stay":
        threading.Thread(target=threading.Event().wait).start()
    return small.application(environ, start_response)
