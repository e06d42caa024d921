"""Wheels, built from copies of the sources, and an environment that they are installed in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from tests.packaging import diary

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
SOURCES = ("twbridge", "twisted", "clients", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command, or fail with what it said."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


class Workshop:
    """Builds wheels, in a folder of its own."""

    made: Workshop | None = None

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="twbridge-wheel-"))

    @classmethod
    def get(cls) -> Workshop:
        """The one of this process."""
        if cls.made is None:
            cls.made = cls()
        return cls.made

    @classmethod
    def close(cls) -> None:
        """Remove what was made."""
        if cls.made is not None:
            shutil.rmtree(cls.made.folder)
            cls.made = None
            _wheel.cache_clear()
            _environment.cache_clear()

    def wheel(self) -> Path:
        """The wheel of twbridge."""
        return _wheel(self)

    def environment(self) -> Path:
        """The interpreter of a virtual environment with twbridge, the examples and the diary."""
        return _environment(self)

    def copy(self, source: Path, parts: Iterable[str]) -> Path:
        """A copy of a distribution's sources, without what its use has made there."""
        folder = self.folder / "sources" / source.name
        folder.mkdir(parents=True)
        unwanted = ("__pycache__", "dropin.cache", "*.egg-info", "build", "node_modules")
        ignore = shutil.ignore_patterns(*unwanted)
        for part in parts:
            if (source / part).is_dir():
                shutil.copytree(source / part, folder / part, symlinks=True, ignore=ignore)
            else:
                shutil.copy(source / part, folder / part)
        return folder

    def build(self, source: Path) -> Path:
        """A wheel of these sources."""
        wheels = self.folder / "wheels" / source.name
        build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels)
        run(*build, source, cwd=self.folder)
        (wheel,) = wheels.iterdir()
        return wheel


@cache
def _wheel(workshop: Workshop) -> Path:
    return workshop.build(workshop.copy(ROOT, SOURCES))


@cache
def _environment(workshop: Workshop) -> Path:
    """The packages that twbridge needs are those of the tests' own environment, by a path.

    So nothing is downloaded, and the editable twbridge there is not seen.
    """
    sources = [
        workshop.copy(EXAMPLES / name, os.listdir(EXAMPLES / name))
        for name in ("plugin", "lines", "dialect")
    ]
    sources.append(diary.write(workshop.folder / "sources"))
    python = workshop.folder / "venv" / "bin" / "python"
    venv = (sys.executable, "-m", "venv", "--without-pip", "venv")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        made = threads.submit(lambda: run(*venv, cwd=workshop.folder))
        wheels = [threads.submit(workshop.wheel)]
        wheels += [threads.submit(workshop.build, source) for source in sources]
        made.result()
        found = [wheel.result() for wheel in wheels]
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", *found, cwd=workshop.folder)
    site = next((workshop.folder / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    # It has no Twisted of its own, and so no twistd.
    twistd = python.with_name("twistd")
    twistd.write_text(f"#!{python}\nfrom twisted.scripts.twistd import run\nrun()\n")
    twistd.chmod(0o755)
    return python
