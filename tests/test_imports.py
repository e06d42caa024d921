"""The rule of dependence: which room may import what.

``service -> daemon -> web, ws, sockets, amqp -> hub, session, dialects -> destinations, wire,
errors``. What does no I/O knows no Autobahn, no txAMQP and no reactor, so that it is tested
without any.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent / "twbridge"

#: Modules, and packages with all that is in them, that do no I/O.
SANS_IO = (
    "auth.interfaces",
    "auth.logins",
    "bus",
    "calls",
    "client.addresses",
    "client.backoff",
    "client.callbacks",
    "client.calls",
    "client.core",
    "client.errors",
    "client.frames",
    "client.inbox",
    "client.iteration",
    "client.messages",
    "client.ports",
    "client.publishes",
    "client.subscription",
    "client.subscriptions",
    "codec",
    "commands",
    "correlation",
    "daemon.taps",
    "deflate",
    "destinations",
    "dialects",
    "errors",
    "flow",
    "frames",
    "hub",
    "link.topology",
    "link.uri",
    "live",
    "orders",
    "policy",
    "polled",
    "ports",
    "reply_addresses",
    "resends",
    "rpc.bodies",
    "rpc.calls",
    "rpc.context",
    "rpc.executors.deadlines",
    "rpc.executors.outcomes",
    "rpc.executors.pipe",
    "rpc.kinds",
    "rpc.messages",
    "rpc.names",
    "rpc.pending",
    "rpc.pipes",
    "rpc.replies",
    "rpc.serializers",
    "rpc.tasks",
    "rpc.topology",
    "rpc.verdicts",
    "screening",
    "publishes",
    "session",
    "shared",
    "sockets.bodies",
    "sockets.census",
    "sockets.framing",
    "sockets.heads",
    "sockets.inbound",
    "sockets.keepalive",
    "sockets.origins",
    "sockets.underway",
    "sockets.uploads",
    "starts",
    "subscriptions",
    "topics",
    "turns",
    "web.readiness",
    "wire",
    "wsgi.abandoned",
    "wsgi.cancels",
    "wsgi.complaints",
    "wsgi.fields",
    "wsgi.messages",
    "wsgi.pending",
    "wsgi.phases",
    "wsgi.pipe",
    "wsgi.ports",
    "wsgi.room",
    "wsgi.sentences",
    "wsgi.windows",
)
#: What those may import of Twisted: Deferreds, interfaces, the log. Nothing that has a socket.
HARMLESS = (
    "twisted.internet.defer",
    "twisted.internet.interfaces",
    "twisted.logger",
    "twisted.python.failure",
)
#: Rooms in which everything but themselves may be imported, the highest first.
STAIRS = ("service", "daemon", "web", "ws", "sockets", "amqp", "link")


@cache
def modules() -> tuple[tuple[str, set[str]], ...]:
    """Every module of the package, and what it imports, ``TYPE_CHECKING`` left out."""
    return tuple(_modules())


def _modules() -> Iterator[tuple[str, set[str]]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        is_package = path.name == "__init__.py"
        package = ["twbridge", *name.split(".")] if name else ["twbridge"]
        if not is_package:
            package = package[:-1]
        yield name, set(_imports(ast.parse(path.read_text()), package))


def _imports(tree: ast.AST, package: list[str]) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from names
            if not all(_is_ours(name) for name in names):
                yield module
        else:
            yield from _imports(node, package)


def _is_ours(name: str) -> bool:
    """Whether a dotted name is a module of the package, and not something in one."""
    return ROOT.parent.joinpath(*name.split(".")).with_suffix(".py").is_file()


def within(name: str, rooms: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of these, or in one of them."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


class ImportsTests(SynchronousTestCase):
    """Who imports whom."""

    def importers(self, *imported: str) -> set[str]:
        return {name for name, found in modules() if any(within(each, imported) for each in found)}

    def test_the_list_of_rooms_without_io_is_up_to_date(self) -> None:
        names = {name for name, _ in modules()}
        self.assertEqual([room for room in SANS_IO if room not in names], [])

    def test_rooms_without_io_import_nothing_that_does_any(self) -> None:
        for name, imports in modules():
            if not within(name, SANS_IO):
                continue
            for each in imports:
                if each.startswith("twisted"):
                    self.assertTrue(within(each, HARMLESS), f"{name} imports {each}")
                self.assertFalse(
                    within(each, ("autobahn", "txamqp", "socket", "asyncio", "klein")),
                    f"{name} imports {each}",
                )

    def test_rooms_without_io_import_only_each_other(self) -> None:
        names = {name for name, _ in modules()}
        for name, imports in modules():
            if within(name, SANS_IO):
                for each in imports:
                    room = each.removeprefix("twbridge.")
                    if each.startswith("twbridge.") and room in names and room != "link":
                        self.assertTrue(within(room, SANS_IO), f"{name} imports {each}")

    def test_autobahn_is_known_to_the_sockets_and_the_shell_of_the_client_only(self) -> None:
        rooms = ("sockets", "client.shell")
        self.assertTrue(all(within(name, rooms) for name in self.importers("autobahn")))

    def test_txamqp_is_known_to_the_link_only(self) -> None:
        self.assertTrue(all(within(name, ("link",)) for name in self.importers("txamqp")))

    def test_the_global_reactor_is_named_in_the_service_only(self) -> None:
        self.assertEqual(self.importers("twisted.internet.reactor"), {"service"})

    def test_nobody_imports_from_above(self) -> None:
        for name, imports in modules():
            own = next((i for i, room in enumerate(STAIRS) if within(name, (room,))), None)
            if own is None or name in ("cli", "publishing"):
                continue
            above = tuple(f"twbridge.{room}" for room in STAIRS[:own])
            for each in imports:
                self.assertFalse(within(each, above), f"{name} imports {each}")

    def test_the_plugin_for_twistd_imports_nothing_heavy(self) -> None:
        path = ROOT.parent / "twisted" / "plugins" / "twbridge_plugin.py"
        found = set(_imports(ast.parse(path.read_text()), []))
        self.assertEqual(
            found, {"twisted.application.service", "twisted.application.service.ServiceMaker"}
        )
        for folder in (path.parent, path.parent.parent):
            self.assertFalse((folder / "__init__.py").exists())
