"""Private RabbitMQ nodes for tests and benchmarks.

::

    with Node() as node:            # 4 to 5 s
        connect(node.url())
        node.kill()                 # SIGKILL; node.start() brings it back with what was durable

Everything is on loopback, with ports, an epmd, a home and a data folder of its own, and is gone
when the process that started it ends, however it ends. All methods block; in a test with a
running reactor call them in a thread::

    await in_thread(node.kill)

:func:`shared` is the one node that tests without a fault of their own use together.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.certificates import Authority

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
"""Debian's wrappers in /usr/sbin change the user; these run as whoever calls them."""
START_DEADLINE = 60.0
STOP_DEADLINE = 20.0
MEMORY_WATERMARK = 0.2
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

_PLUGIN_PORTS = {
    "rabbitmq_management": {"management": "management.tcp.port"},
    "rabbitmq_prometheus": {"prometheus": "prometheus.tcp.port"},
    "rabbitmq_stomp": {"stomp": "stomp.listeners.tcp.1"},
    "rabbitmq_web_stomp": {"stomp": "stomp.listeners.tcp.1", "web_stomp": "web_stomp.tcp.port"},
    "rabbitmq_stream": {"stream": "stream.listeners.tcp.1"},
}
_REAPER = 'cat; kill -s KILL -- "-$1"; kill -s KILL -- "-$2"; sleep 0.2; rm -rf "$3"'

_P = ParamSpec("_P")
_T = TypeVar("_T")


class RabbitMQError(Exception):
    """RabbitMQ is missing, did not start, or refused a command."""


class Node:
    """One RabbitMQ node.

    Args:
        plugins: names to enable; their listeners are in ``ports`` (``web_stomp`` for example).
        tls: also listen with a certificate of ``authority`` for localhost, see
            :meth:`tls_url`.
        config: more lines of rabbitmq.conf.
        advanced: the whole of advanced.config, an Erlang term.
    """

    def __init__(
        self,
        *,
        plugins: Sequence[str] = (),
        tls: bool = False,
        config: Mapping[str, object] | None = None,
        advanced: str = "[].",
    ) -> None:
        if not (PROGRAMS / "rabbitmq-server").exists():
            raise RabbitMQError(
                f"there is no {PROGRAMS}/rabbitmq-server: apt-get install rabbitmq-server"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="twbridge-rabbitmq-"))
        self.authority: Authority | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        (self.folder / "home").mkdir()
        names = ["amqp", "distribution", "epmd", *(["amqps"] if tls else [])]
        lines: dict[str, object] = {
            "disk_free_limit.absolute": "50MB",
            "vm_memory_high_watermark.relative": MEMORY_WATERMARK,
            "log.console": "false",
        }
        for plugin in plugins:
            names += [name for name in _PLUGIN_PORTS.get(plugin, ()) if name not in names]
        self.ports: dict[str, int] = dict(zip(names, free_ports(len(names)), strict=True))
        for plugin in plugins:
            for name, key in _PLUGIN_PORTS.get(plugin, {}).items():
                lines[key] = self.ports[name]
        if tls:
            lines |= self._tls_lines()
        lines |= config or {}
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        (self.folder / "rabbitmq.conf").write_text(text)
        (self.folder / "advanced.config").write_text(advanced)
        (self.folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")

    def _tls_lines(self) -> dict[str, object]:
        folder = self.folder / "tls"
        folder.mkdir()
        self.authority = Authority(folder)
        certificate, key = self.authority.issue("server")
        return {
            "listeners.ssl.default": self.ports["amqps"],
            "ssl_options.cacertfile": self.authority.ca,
            "ssl_options.certfile": certificate,
            "ssl_options.keyfile": key,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
        }

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where it speaks AMQP on 127.0.0.1."""
        return self.ports["amqp"]

    @property
    def environment(self) -> dict[str, str]:
        """What RabbitMQ's own programs need to find this node."""
        folder = self.folder
        kept = {"LANG": "C.UTF-8", "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        return kept | {
            "HOME": str(folder / "home"),
            "ERL_EPMD_PORT": str(self.ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1}"),
            # "Under systemd" the start script becomes the node, without a shell between.
            "RUNNING_UNDER_SYSTEMD": "1",
        }

    def url(self, vhost: str = "%2F", query: str = "", user: str = "guest:guest") -> str:
        """An AMQP URL of this node."""
        suffix = f"?{query}" if query else ""
        return f"amqp://{user}@127.0.0.1:{self.port}/{vhost}{suffix}"

    def tls_url(self, query: str = "", *, host: str = "localhost") -> str:
        """An ``amqps`` URL that trusts the test CA; a ``query`` of yours replaces that."""
        assert self.authority is not None, "Node(tls=True)"
        query = query or f"cacertfile={self.authority.ca}"
        return f"amqps://guest:guest@{host}:{self.ports['amqps']}/%2F?{query}"

    @property
    def running(self) -> bool:
        """Whether its process lives; a frozen one does."""
        return self._server is not None and self._server.poll() is None

    def start(self) -> None:
        """Start, or start again after :meth:`kill` or :meth:`stop`; returns when it greets."""
        assert not self.running
        if self._epmd is None:
            self._epmd = self._spawn("epmd", "-port", str(self.ports["epmd"]))
            self._wait_for_port(self._epmd, self.ports["epmd"], b"")
        self._server = self._spawn("rabbitmq-server")
        self._watch()
        self._wait_for_port(self._server, self.port, PROTOCOL_HEADER)
        if "amqps" in self.ports:
            self._wait_for_port(self._server, self.ports["amqps"], b"")

    def kill(self) -> None:
        """SIGKILL, as if the power went."""
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()

    def sync(self) -> None:
        """Bring what was declared to the disk: RabbitMQ answers a declare before it is there,
        and a node that is killed within seconds may come back without the queue, or with a stream
        that never comes up.
        """
        self.ctl("eval", "mnesia:sync_log(), [dets:sync(Table) || Table <- dets:all()].")

    def stop(self) -> None:
        """SIGTERM, and wait until it has shut down in order (2 to 3 s)."""
        if self._server is not None and self.running:
            self._server.terminate()
            self._server.wait(STOP_DEADLINE)

    def freeze(self) -> None:
        """SIGSTOP: the sockets stay open and nothing answers, when this returns."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        # A thread on another core runs on for a moment after the signal was sent.
        tasks = Path(f"/proc/{self._server.pid}/task")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not all(map(_is_stopped, tasks.iterdir())):
            time.sleep(0.001)

    def thaw(self) -> None:
        """SIGCONT."""
        if self._server is not None and self.running:
            self._server.send_signal(signal.SIGCONT)

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` (0.35 s), see :meth:`run`."""
        return self.run("rabbitmqctl", "--quiet", *arguments)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of RabbitMQ's programs on this node and return what it printed.

        Raises:
            RabbitMQError: it ended with another code than 0.
        """
        command = [str(PROGRAMS / program), *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RabbitMQError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def list(self, what: str, *columns: str) -> list[dict[str, Any]]:
        """``list("queues", "name", "messages")``: what rabbitmqctl lists, as dictionaries."""
        rows: list[dict[str, Any]] = json.loads(
            self.ctl(f"list_{what}", "--formatter=json", *columns)
        )
        return rows

    def block(self) -> None:
        """Raise the memory alarm: connections that publish are blocked."""
        self.ctl("set_vm_memory_high_watermark", "0.00001")

    def unblock(self) -> None:
        """Lift the memory alarm."""
        self.ctl("set_vm_memory_high_watermark", str(MEMORY_WATERMARK))

    def log(self) -> str:
        """Everything the node logged."""
        return "".join(path.read_text() for path in sorted((self.folder / "log").glob("*.log")))

    def close(self) -> None:
        """Kill the node and its epmd and delete its folder; may be called twice."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        if self._reaper is not None:
            assert self._reaper.stdin is not None
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{command[0]}.out", "ab") as output:
            return subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _watch(self) -> None:
        """Have a shell kill the node should this process end without :meth:`close`."""
        assert self._server is not None
        assert self._epmd is not None
        previous, pids = self._reaper, [str(self._server.pid), str(self._epmd.pid)]
        self._reaper = subprocess.Popen(
            ["/bin/sh", "-c", _REAPER, "reaper", *pids, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if previous is not None:
            previous.kill()
            previous.wait()
            assert previous.stdin is not None
            previous.stdin.close()

    def _wait_for_port(self, process: subprocess.Popen[bytes], port: int, hello: bytes) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while not _greets(port, hello):
            if process.poll() is not None or time.monotonic() > deadline:
                outputs = (path.read_text() for path in self.folder.glob("*.out"))
                raise RabbitMQError(f"RabbitMQ did not start: {''.join(outputs)}{self.log()}")
            time.sleep(0.05)


def _greets(port: int, hello: bytes) -> bool:
    """Whether something accepts on ``port`` and, given a ``hello``, answers it."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as probe:
            if not hello:
                return True
            probe.sendall(hello)
            return probe.recv(1) == b"\x01"
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, below those that the kernel gives to clients.

    A port of the kernel's own range could be taken while the node that had it is down.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(10000, lowest)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


_shared: Node | None = None


def _is_stopped(task: Path) -> bool:
    """Whether a thread has stopped (proc(5), ``/proc/pid/stat``, field 3)."""
    with contextlib.suppress(OSError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    return True


def started() -> Node:
    """A node of the caller's own, which may kill, freeze and block it, and closes it."""
    node = Node()
    try:
        node.start()
    except BaseException:
        node.close()
        raise
    return node


def shared() -> Node:
    """The node that all tests of this process share, started by the first that asks.

    Tests on it use names of their own and leave nothing behind. It speaks TLS too. A test that
    kills, freezes or blocks uses a node of its own.
    """
    global _shared
    if _shared is None:
        node = Node(tls=True)
        atexit.register(node.close)
        try:
            node.start()
        except RabbitMQError:
            node.close()
            raise
        _shared = node
    return _shared


def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
    """Call something that blocks without stopping the reactor."""
    return deferToThread(function, *args, **kwargs)
