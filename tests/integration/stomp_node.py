"""@stomp/stompjs in Node: its installation, and ``stomp/live.mjs`` as a process."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from queue import Empty, Queue

__all__ = ["FOLDER", "Script", "install"]

FOLDER = Path(__file__).parent / "stomp"
SECONDS = 120.0


def install() -> None:
    """Bring the modules, if they are not there yet."""
    lock, stamp = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund"]
        done = subprocess.run(
            command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        stamp.touch()


class Script:
    """``live.mjs``, whose lines can be waited for."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            ["node", "live.mjs", *arguments],
            cwd=FOLDER,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said:
            for line in said:
                self._lines.put(line.strip())
        self._lines.put(None)

    def wait_for(self, line: str, seconds: float = 40.0) -> None:
        """Wait until it says this, and nothing before."""
        said: list[str] = []
        while (found := self._next(seconds)) is not None:
            said.append(found)
            if found == line:
                break
        if said != [line]:
            raise AssertionError("\n".join([f"it did not say {line!r}:", *said]))

    def _next(self, seconds: float) -> str | None:
        try:
            return self._lines.get(timeout=seconds)
        except Empty:
            return None

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
