"""The built wheel in a fresh environment, and plugins of other distributions beside it."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from pathlib import Path

import cbor2
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.bare_socket import BareSocket
from tests.integration.bridge import Bridge

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


class Environment:
    """A virtual environment with all wheels, made once.

    The packages that twbridge needs are those of the tests' own environment, by a path: nothing
    is downloaded, and the editable twbridge there is not seen.
    """

    made: Environment | None = None

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="twbridge-wheel-"))
        self.python = self.folder / "venv" / "bin" / "python"
        self.wheel = self._build(self._copy("twbridge", SOURCES, ROOT))
        examples = [
            self._build(self._copy(name, os.listdir(EXAMPLES / name), EXAMPLES / name))
            for name in ("plugin", "dialect")
        ]
        run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=self.folder)
        pip = (sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet")
        run(*pip, "--no-deps", "--no-index", self.wheel, *examples, cwd=self.folder)
        site = next((self.folder / "venv" / "lib").glob("python*/site-packages"))
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    @classmethod
    def get(cls) -> Environment:
        """The one of this process."""
        if cls.made is None:
            cls.made = cls()
        return cls.made

    def _copy(self, name: str, parts: tuple[str, ...] | list[str], source: Path) -> Path:
        folder = self.folder / "sources" / name
        folder.mkdir(parents=True)
        unwanted = ("__pycache__", "dropin.cache", "*.egg-info", "build", "node_modules")
        ignore = shutil.ignore_patterns(*unwanted)
        for part in parts:
            if (source / part).is_dir():
                shutil.copytree(source / part, folder / part, symlinks=True, ignore=ignore)
            else:
                shutil.copy(source / part, folder / part)
        return folder

    def _build(self, source: Path) -> Path:
        wheels = self.folder / "wheels" / source.name
        build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels)
        run(*build, source, cwd=self.folder)
        (wheel,) = wheels.iterdir()
        return wheel


def tearDownModule() -> None:
    """Remove the environment."""
    if Environment.made is not None:
        shutil.rmtree(Environment.made.folder)


class WheelTests(SynchronousTestCase):
    """What is in it."""

    def names(self) -> set[str]:
        with zipfile.ZipFile(Environment.get().wheel) as wheel:
            return set(wheel.namelist())

    def test_it_has_every_module_and_every_file_of_the_page(self) -> None:
        files = [*ROOT.glob("twbridge/**/*.py"), *ROOT.glob("twbridge/web/static/*")]
        expected = {str(path.relative_to(ROOT)) for path in files if path.is_file()}
        expected |= {"twbridge/py.typed", "twisted/plugins/twbridge_plugin.py"}
        self.assertEqual(expected - self.names(), set())

    def test_it_has_nothing_else_and_overwrites_nothing_of_twisted(self) -> None:
        for name in self.names():
            self.assertRegex(name, r"^(twbridge/|twbridge-[^/]*\.dist-info/|twisted/plugins/)")
            self.assertNotRegex(name, r"^twisted/(plugins/)?__init__|__pycache__|dropin.cache")

    def test_it_has_the_javascript_client_and_no_link_to_it(self) -> None:
        name = "twbridge/web/static/twbridge.js"
        self.assertTrue((ROOT / name).is_symlink())
        with zipfile.ZipFile(Environment.get().wheel) as wheel:
            self.assertEqual(wheel.read(name), (ROOT / name).read_bytes())

    def test_it_has_its_licence(self) -> None:
        self.assertTrue(any(name.endswith("licenses/LICENSE") for name in self.names()))


class FreshEnvironmentTests(SynchronousTestCase):
    """What it does."""

    def test_the_command_is_there(self) -> None:
        command = Environment.get().python.with_name("twbridge")
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
        self.assertRegex(done.stdout, r"^twbridge \d")

    def bridge(self) -> Bridge:
        """A bridge of the fresh environment, with an embedded broker."""
        environment = Environment.get()
        bridge = Bridge("--embedded", environment={"PYTHONDONTWRITEBYTECODE": "1"})
        self.addCleanup(bridge.close)
        # The environment has no Twisted of its own, and so no twistd.
        script = environment.folder / "twistd"
        script.write_text(
            f"#!{environment.python}\nfrom twisted.scripts.twistd import run\nrun()\n"
        )
        script.chmod(0o755)
        self.patch(sys.modules["tests.integration.bridge"], "TWISTD", script)
        bridge.start()
        return bridge

    def client(self, bridge: Bridge, protocol: str | None = None) -> BareSocket:
        """A client that speaks a dialect."""
        client = BareSocket(bridge.url(), protocol)
        self.addCleanup(client.close)
        return client

    def test_twistd_finds_the_bridge_and_the_bridge_finds_the_other_plugin(self) -> None:
        bridge = self.bridge()
        self.assertIn("Plugin hello runs", bridge.log)
        client = self.client(bridge)
        client.send(1, b"!hello")
        self.assertEqual(client.frame(), (0x81, b"!hello"))
        self.assertEqual(client.frame(), (0x81, b"Hello from a plugin!"))
        self.assertEqual(bridge.stop(), 0)
        self.assertNotIn("Traceback", bridge.log)

    def test_the_dialect_of_another_distribution_is_spoken(self) -> None:
        bridge = self.bridge()
        client = self.client(bridge, "v1.example.cbor")
        self.assertIn(b"Sec-WebSocket-Protocol: v1.example.cbor", client.head)

        def ask(**frame: object) -> None:
            client.send(2, cbor2.dumps(frame))

        def hear() -> dict[str, object]:
            first, payload = client.frame()
            self.assertEqual(first, 0x82)
            found = cbor2.loads(payload)
            assert isinstance(found, dict)
            return found

        self.assertEqual(hear()["op"], "welcome")
        ask(op="subscribe", id=1, destination="/topic/sensor.*")
        self.assertEqual(hear(), {"op": "subscribed", "id": 1, "destination": "/topic/sensor.*"})
        ask(op="publish", id=2, destination="/topic/sensor.7", body={"raw": b"\x00\xff"})
        heard = {str(frame["op"]): frame for frame in (hear(), hear())}
        self.assertEqual(heard["published"], {"op": "published", "id": 2})
        self.assertEqual(heard["message"]["body"], {"raw": b"\x00\xff"})
        self.assertEqual(heard["message"]["routing_key"], "sensor.7")
        client.send(2, b"\xff")
        self.assertEqual(hear()["code"], "bad_frame")
        # A message from there, read in another dialect.
        other = self.client(bridge)
        other.send(1, b"subscribed")
        self.assertEqual(other.frame(), (0x81, b"subscribed"))
        ask(op="publish", id=3, destination="/exchange/twbridge.chat/chat", body="from CBOR")
        self.assertEqual(other.frame(), (0x81, b"from CBOR"))
        self.assertEqual(bridge.stop(), 0)
        self.assertNotIn("Traceback", bridge.log)


class DependencyTests(SynchronousTestCase):
    """``pyproject.toml`` names all that is imported."""

    def test_every_package_that_is_imported_is_a_dependency(self) -> None:
        imported = set()
        for path in ROOT.glob("twbridge/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    imported.add(node.module.partition(".")[0])
        imported -= {*sys.stdlib_module_names, "twbridge"}
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        declared = {_plain(each) for each in project["dependencies"]}
        # What `twisted[tls]` and pydantic-settings are made of.
        declared |= {"pyopenssl", "service-identity", "cryptography", "pydantic-core"}
        distributions = importlib.metadata.packages_distributions()
        for package in sorted(imported):
            names = {_plain(name) for name in distributions[package]}
            self.assertTrue(names & declared, f"{package} is imported, but not a dependency")


def _plain(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()
