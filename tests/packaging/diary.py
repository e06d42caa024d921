"""A plugin of another distribution that writes down what it hears on the bus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VARIABLE = "DIARY"
"""The environment variable with the file that it writes to; without it, it does nothing."""

_PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "diary"
version = "1.0"

[tool.setuptools]
packages = ["twisted.plugins"]
"""

_PLUGIN = """\
import hashlib
import json
import os

from twbridge import bus as channels
from twbridge.bus import AMQP2WS, SIGUSR2, WS2AMQP, listener
from twbridge.interfaces import Plugin

LISTENED = ("STARTED", "READY", "UNAVAILABLE", "STOPPING", "STOPPED", "SIGHUP", "SIGUSR1")


class Diary(Plugin):
    def start(self, bridge):
        if "DIARY" not in os.environ:
            return
        self.bus = bridge.bus
        self.write("start")
        for channel in (getattr(channels, name) for name in LISTENED):
            for priority in (90, 50, 10):
                self.note(channel, priority)
            self.bus.subscribe(channel, lambda *args, channel=channel: self.fail(channel), 30)
            self.bus.subscribe(channel, lambda *args, channel=channel: self.later(channel), 40)
        super().start(bridge)

    def stop(self):
        if "DIARY" in os.environ:
            self.write("stop")

    def write(self, *entry):
        with open(os.environ["DIARY"], "a") as file:
            print(json.dumps([*entry, self.bus.state]), file=file)

    def note(self, channel, priority):
        self.bus.subscribe(channel, lambda *args: self.write(channel, priority), priority)

    def fail(self, channel):
        raise RuntimeError(f"at once on {channel}")

    async def later(self, channel):
        raise RuntimeError(f"later on {channel}")

    @listener(AMQP2WS)
    def see(self, delivery):
        self.write("amqp2ws", len(delivery.body), hashlib.sha256(delivery.body).hexdigest())

    @listener(AMQP2WS, priority=10)
    def see_badly(self, delivery):
        self.fail("amqp2ws")

    @listener(AMQP2WS, priority=20)
    async def see_badly_later(self, delivery):
        await self.later("amqp2ws")

    @listener(SIGUSR2)
    def speak(self):
        self.bus.tell(WS2AMQP, b"\\xff from the bus")


diary = Diary()
"""


def write(folder: Path) -> Path:
    """Write the distribution; gives its folder."""
    project = folder / "diary"
    plugins = project / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (project / "pyproject.toml").write_text(_PROJECT)
    (plugins / "diary_plugin.py").write_text(_PLUGIN)
    return project


def read(file: Path) -> list[list[Any]]:
    """The entries so far: what was heard, and the state of the bus at the end of each."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
