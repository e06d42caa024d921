"""Programs for Node.js: their packages, and one of them as a process."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from queue import Empty, Queue

__all__ = ["Script", "install", "run"]

SECONDS = 120.0


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder; gives what it wrote to stdout.

    Raises:
        AssertionError: it failed; the text is what it wrote.
    """
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout[-8000:]}{done.stderr[-8000:]}")
    return done.stdout


def install(folder: Path) -> None:
    """Bring the packages that a folder's lock file names, if they are not there yet."""
    lock, stamp = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        run(folder, "npm", "ci", "--no-audit", "--no-fund")
        stamp.touch()


class Script:
    """A script as a process, whose lines can be waited for."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            ["node", *arguments],
            cwd=folder,
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

    def end(self, seconds: float = 10.0) -> int:
        """Wait for its end; gives the exit code."""
        return self._process.wait(seconds)

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
