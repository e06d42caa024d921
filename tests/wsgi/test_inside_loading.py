"""Which application ``MODULE:APP`` is."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twbridge.wsgi.inside.loading import load

SOURCE = """
def application(environ, start_response):
    return [b"application"]

def app(environ, start_response):
    return [b"app"]

def create():
    return app

def broken():
    raise ValueError("no\\nluck")

class inner:
    app = app

number = 5
"""


class LoadTests(SynchronousTestCase):
    """Names that people give."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.patch(sys, "modules", dict(sys.modules))
        self.patch(sys, "dont_write_bytecode", True)

    def write(self, name: str, source: str = SOURCE) -> str:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        return str(path)

    def found(self, name: str) -> str:
        application, hello = load(name)
        self.assertEqual((hello.error, hello.traceback), (None, None))
        assert application is not None
        return b"".join(application({}, print)).decode()

    def mistake(self, name: str) -> tuple[str, str | None]:
        application, hello = load(name)
        self.assertIs(application, None)
        assert hello.error is not None
        self.assertNotIn("\n", hello.error)
        return hello.error, hello.traceback

    def test_a_module_and_a_name(self) -> None:
        self.write("shop_a.py")
        for name, expected in (
            ("shop_a", "application"),
            ("shop_a:app", "app"),
            ("shop_a:inner.app", "app"),
            ("shop_a:create()", "app"),
        ):
            self.assertEqual(self.found(name), expected)

    def test_app_is_the_second_usual_name(self) -> None:
        self.write("shop_b.py", SOURCE.replace("application", "other"))
        self.assertEqual(self.found("shop_b"), "app")

    def test_a_module_in_a_package(self) -> None:
        self.write("shop_c/__init__.py", "")
        self.write("shop_c/wsgi.py")
        self.assertEqual(self.found("shop_c.wsgi"), "application")

    def test_a_file_is_the_module_that_others_beside_it_import(self) -> None:
        path = self.write("shop_d.py", SOURCE + "import shop_d\nsame = shop_d.application\n")
        self.assertEqual(self.found(path), "application")
        self.assertEqual(self.found(f"{path}:app"), "app")

    def test_a_file_takes_no_name_that_is_in_use(self) -> None:
        json = sys.modules["json"]
        self.assertEqual(self.found(self.write("json.py")), "application")
        self.assertIs(sys.modules["json"], json)

    def test_mistakes_are_one_line(self) -> None:
        path = self.write("shop_e.py")
        self.write("shop_f.py", "x = 1\n")
        example = "name it like site.wsgi:application or site/wsgi.py:create()"
        for name, expected in (
            ("shop_e:", f"'shop_e:' is no name of an application: {example}"),
            (":app", f"':app' is no name of an application: {example}"),
            ("shop-e", f"'shop-e' is no name of a module: {example}"),
            ("", f"'' is no name of a module: {example}"),
            ("shop_e:create(1)", f"'create(1)' is no name of an application: {example}"),
            ("shop_e:nothing", "'shop_e' has no 'nothing'"),
            ("shop_e:inner.nothing", "'shop_e' has no 'inner.nothing'"),
            ("shop_f", f"'shop_f' has neither 'application' nor 'app': {example}"),
            ("shop_e:number", "'shop_e:number' is no WSGI application: it can't be called"),
            (f"{path}x.py", f"there is no file '{path}x.py'"),
            (f"{self.folder}/", f"'{self.folder}/' is a folder: {example}"),
        ):
            self.assertEqual(self.mistake(name), (expected, None))

    def test_what_can_not_be_imported_comes_with_its_traceback(self) -> None:
        self.write("shop_g.py", "import nothing_there\n")
        path = self.write("shop_h.py", "raise SystemExit('not today')\n")
        other = self.write("shop_h.txt")
        no_python = f"'{other}' is no Python file"
        missing = "ModuleNotFoundError: No module named"
        for name, expected in (
            ("shop_g", f"the module 'shop_g' can't be imported: {missing} 'nothing_there'"),
            ("shop_z", f"the module 'shop_z' can't be imported: {missing} 'shop_z'"),
            (
                "shop_z.app",
                "the module 'shop_z.app' can't be imported: "
                f"{missing} 'shop_z'; did you mean shop_z:app?",
            ),
            (other, f"the file '{other}' can't be imported: ImportError: {no_python}"),
            (path, f"the file '{path}' can't be imported: SystemExit: not today"),
        ):
            line, text = self.mistake(name)
            self.assertEqual(line, expected)
            self.assertIn("Traceback", text or "")

    def test_a_factory_that_fails_is_told(self) -> None:
        self.write("shop_i.py")
        line, text = self.mistake("shop_i:broken()")
        self.assertEqual(line, "broken() of 'shop_i' has failed: ValueError: no luck")
        self.assertIn("in broken", text or "")
