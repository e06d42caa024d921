"""The whole daemon for tests: ``twistd -n twbridge`` as a process of its own.

::

    bridge = Bridge("--amqp-url", node.url(), toml="limits = { subscriptions = 5 }")
    bridge.start()                    # 0.7 s; returns when /readyz says so
    connect(bridge.url())             # ws://127.0.0.1:12345/ws
    assert bridge.stop() == 0         # SIGTERM, and the exit code

It runs in a folder of its own, with an environment that holds nothing but what the test gives,
and is gone when the process that started it ends, however it ends. All methods block; in a test
with a running reactor call them with :func:`in_thread`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.integration.rabbitmq import free_ports, in_thread

__all__ = ["Bridge", "BridgeError", "Response", "in_thread"]

TWISTD = Path(sys.executable).with_name("twistd")
START_SECONDS = 20.0
STOP_SECONDS = 30.0
_REAPER = 'cat; kill -s KILL "$1"; rm -rf "$2"'


class BridgeError(Exception):
    """The bridge did not do in time what was expected; the text has its log."""


class Response(NamedTuple):
    """An answer over HTTP."""

    status: int
    body: str


class Bridge:
    """One instance.

    Args:
        options: of ``twistd -n twbridge``; without a ``--listen`` among them it gets one, unless
            the settings file has a ``[[listen]]`` (at ``port``).
        toml: the settings file; none where it is empty.
        environment: more variables.
        interface: what it listens on, where the options do not say.
        port: where it listens, free and of its own if None.
        twistd: the program; by default that of the tests' own environment.
    """

    def __init__(
        self,
        *options: str,
        toml: str = "",
        environment: Mapping[str, str] | None = None,
        interface: str = "127.0.0.1",
        port: int | None = None,
        twistd: Path = TWISTD,
    ) -> None:
        self._twistd = twistd
        self.folder = Path(tempfile.mkdtemp(prefix="twbridge-instance-"))
        self.port = port or free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._options = list(options)
        if "--listen" not in options and "[[listen]]" not in toml:
            self._options += ["--listen", f"tcp:{self.port}:interface={interface}"]
        if toml:
            (self.folder / "bridge.toml").write_text(toml)
            self._options += ["--config", str(self.folder / "bridge.toml")]
        self._environment = {
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
        } | dict(environment or {})

    def url(self, path: str = "/ws", host: str = "127.0.0.1") -> str:
        """Where WebSocket clients connect to."""
        return f"ws://{host}:{self.port}{path}"

    def page(self, host: str = "127.0.0.1") -> str:
        """Where the chat page is."""
        return f"http://{host}:{self.port}/"

    @property
    def log(self) -> str:
        """What it has logged (stdout), over all its starts."""
        return self._said("log")

    @property
    def complaints(self) -> str:
        """What it has said on stderr, over all its starts."""
        return self._said("complaints")

    def _said(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def resident(self) -> int:
        """Its resident memory in bytes."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def launch(self) -> None:
        """Start it and return at once."""
        assert not self.running
        with (
            open(self.folder / "log", "ab") as log,
            open(self.folder / "complaints", "ab") as complaints,
        ):
            self.process = subprocess.Popen(
                [str(self._twistd), "-n", "--pidfile=", "twbridge", *self._options],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=complaints,
                start_new_session=True,
            )
        self._watch(self.process.pid)

    def start(self) -> None:
        """Start it, again too; returns when it is ready.

        Raises:
            BridgeError: it ended, or was not ready in time.
        """
        self.launch()
        self.until_ready()

    def until_ready(self, seconds: float = START_SECONDS) -> Response:
        """Wait until ``/readyz`` is 200."""
        return self.until(lambda answer: answer.status == 200, seconds)

    def until(
        self,
        holds: Callable[[Response], bool],
        seconds: float = START_SECONDS,
        path: str = "/readyz",
    ) -> Response:
        """Wait until the answer to a GET is as it should be; gives that answer.

        Raises:
            BridgeError: it was not in time, or the process ended.
        """
        deadline, answer = time.monotonic() + seconds, Response(0, "no answer")
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = self.get(path)
                if holds(answer):
                    return answer
            if not self.running:
                break
            time.sleep(0.02)
        raise BridgeError(f"{path} is {answer}\n{self.complaints}\n{self.log}")

    def get(self, path: str = "/readyz", host: str = "127.0.0.1") -> Response:
        """GET."""
        connection = http.client.HTTPConnection(host, self.port, timeout=5.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Response(answer.status, answer.read().decode())
        finally:
            connection.close()

    def send_signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; gives the exit code, negative where it was a signal.

        Raises:
            BridgeError: it lives on.
        """
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BridgeError(f"it lives on after {seconds} s\n{self.log}") from None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end; gives the exit code."""
        self.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, as if the machine went."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Kill it and delete its folder; may be called twice."""
        self.kill()
        if self._reaper is not None:
            _end(self._reaper)
            self._reaper = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _watch(self, pid: int) -> None:
        """Have a shell kill it should this process end without :meth:`close`."""
        previous = self._reaper
        self._reaper = subprocess.Popen(
            ["/bin/sh", "-c", _REAPER, "reaper", str(pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if previous is not None:
            _end(previous)


def _end(reaper: subprocess.Popen[bytes]) -> None:
    """Without its work: what it watched is gone, and the pid may be another's by now."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(reaper.pid, signal.SIGKILL)
    reaper.wait()
    assert reaper.stdin is not None
    reaper.stdin.close()
