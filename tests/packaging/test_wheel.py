"""The built wheel."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
import zipfile

from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.environment import ROOT, Workshop


def tearDownModule() -> None:
    """Remove the wheel."""
    Workshop.close()


class WheelTests(SynchronousTestCase):
    """What is in it."""

    def names(self) -> set[str]:
        with zipfile.ZipFile(Workshop.get().wheel()) as wheel:
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
        with zipfile.ZipFile(Workshop.get().wheel()) as wheel:
            self.assertEqual(wheel.read(name), (ROOT / name).read_bytes())

    def test_it_has_its_licence(self) -> None:
        self.assertTrue(any(name.endswith("licenses/LICENSE") for name in self.names()))


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
