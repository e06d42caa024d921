"""An application of a few lines; what it does is the path's choice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = environ["wsgi.input"].read() if environ["REQUEST_METHOD"] == "POST" else b""
    if path == "/sleep":
        time.sleep(float(query))
    elif path == "/loop":
        while True:
            pass
    elif path == "/wait":
        while not Path(query).exists():
            time.sleep(0.01)
    elif path == "/exit":
        os._exit(3)
    elif path == "/kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/fork":
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(query).write_text(str(sleeper.pid))
        time.sleep(60)
    elif path == "/stray":
        os.write(3, b"what is no frame")
        time.sleep(60)
    elif path == "/die":
        threading.Timer(0.05, os._exit, (3,)).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/many":
        return (b"x" * 10_000 for _ in range(int(query)))
    return [body or f"{os.getpid()}".encode()]
