"""The node harness keeps its word: nothing is left behind, and what was durable comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pika
from twisted.trial.unittest import SynchronousTestCase

from tests.integration import rabbitmq
from tests.integration.rabbitmq import Node, RabbitMQError

_REPOSITORY = Path(__file__).parents[2]
_PARENT = """
import time
from tests.integration.rabbitmq import Node
node = Node()
node.start()
node.kill()
node.start()
print(node.port, node._server.pid, node._epmd.pid, node.folder, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


class NodeTests(SynchronousTestCase):
    def test_a_killed_test_run_leaves_nothing_behind(self) -> None:
        parent = subprocess.Popen(
            [sys.executable, "-c", _PARENT], cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        with parent.stdout:
            port, server, epmd, folder = parent.stdout.readline().split()
        self.assertTrue(alive(int(server)))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 10
        while alive(int(server)) or alive(int(epmd)) or os.path.exists(folder):
            self.assertLess(time.monotonic(), deadline, "it is still there")
            time.sleep(0.05)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), 1)

    def test_what_was_durable_survives_a_kill_and_an_alarm_can_be_lifted(self) -> None:
        node = Node()
        self.addCleanup(node.close)
        node.start()
        with pika.BlockingConnection(pika.URLParameters(node.url())) as connection:
            channel = connection.channel()
            channel.queue_declare("kept", durable=True)
            channel.confirm_delivery()
            channel.basic_publish("", "kept", b"x", pika.BasicProperties(delivery_mode=2))
        node.sync()
        node.kill()
        self.assertFalse(node.running)
        node.start()
        rows = node.list("queues", "name", "messages")
        self.assertEqual(rows, [{"name": "kept", "messages": 1}])
        node.block()
        self.assertIn("memory", node.ctl("eval", "rabbit_alarm:get_alarms()."))
        node.unblock()
        self.assertEqual(node.ctl("eval", "rabbit_alarm:get_alarms().").strip(), "[]")
        with self.assertRaisesRegex(RabbitMQError, "delete_vhost nope: .*nope"):
            node.ctl("delete_vhost", "nope")
        node.close()
        self.assertFalse(node.folder.exists())

    def test_a_machine_without_rabbitmq_is_told_what_to_install(self) -> None:
        self.patch(rabbitmq, "PROGRAMS", Path("/nowhere"))
        with self.assertRaisesRegex(RabbitMQError, "apt-get install rabbitmq-server"):
            Node()
