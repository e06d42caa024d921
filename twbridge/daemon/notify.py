"""Tells the service manager how we are: sd_notify(3), over a datagram socket, without a library.

(The one on the index, ``sdnotify``, has had no release since 2017.)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to systemd, or whoever set ``NOTIFY_SOCKET``; without it, does nothing.

    Args:
        environ: ``os.environ``, or another for a test.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._environ = environ

    @property
    def watchdog(self) -> float | None:
        """Seconds between two signs of life, half of what the manager waits; None: not wanted."""
        microseconds = self._environ.get("WATCHDOG_USEC", "")
        for_us = self._environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if not self._address or not for_us or not microseconds.isdecimal():
            return None
        return int(microseconds) / 2_000_000 or None

    def send(self, *assignments: str) -> None:
        """Send ``READY=1`` and the like. A manager that can't hear us is not our problem."""
        if not self._address.startswith(("/", "@")):
            return
        # An abstract socket is written with an @ and has a NUL there.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(assignments).encode(), address)
            except OSError:
                return

    def ready(self, status: str) -> None:
        """We serve."""
        self.send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """What ``systemctl status`` shows."""
        self.send(_status(status))

    def stopping(self) -> None:
        """We are about to end."""
        self.send("STOPPING=1", "STATUS=Letting the clients go")

    def alive(self) -> None:
        """The sign of life for the watchdog."""
        self.send("WATCHDOG=1")


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
