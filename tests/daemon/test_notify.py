"""sd_notify(3)."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from twbridge.daemon.notify import Notifier


class NotifierTests(SynchronousTestCase):
    """Datagrams to the service manager."""

    def manager(self, address: str) -> socket.socket:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(address)
        manager.setblocking(False)
        return manager

    def test_states_arrive_on_a_path(self) -> None:
        path = os.path.join(os.path.relpath("/tmp"), f"twbridge-{os.getpid()}-notify")
        path = os.path.abspath(path)
        manager = self.manager(path)
        self.addCleanup(os.remove, path)
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.ready("a\nb")
        self.assertEqual(manager.recv(100), b"READY=1\nSTATUS=a b")
        notifier.stopping()
        self.assertTrue(manager.recv(100).startswith(b"STOPPING=1\n"))
        notifier.alive()
        self.assertEqual(manager.recv(100), b"WATCHDOG=1")

    def test_states_arrive_on_an_abstract_socket(self) -> None:
        name = f"twbridge-test-{os.getpid()}"
        manager = self.manager(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).status("x")
        self.assertEqual(manager.recv(100), b"STATUS=x")

    def test_nobody_there_is_no_error(self) -> None:
        for environ in ({}, {"NOTIFY_SOCKET": "/no/such/socket"}, {"NOTIFY_SOCKET": "vsock:1"}):
            Notifier(environ).ready("x")

    def test_the_watchdog_is_fed_twice_as_often_as_it_looks(self) -> None:
        environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000"}
        self.assertEqual(Notifier(environ).watchdog, 15.0)
        self.assertEqual(Notifier({**environ, "WATCHDOG_PID": str(os.getpid())}).watchdog, 15.0)
        self.assertIsNone(Notifier({**environ, "WATCHDOG_PID": "1"}).watchdog)
        self.assertIsNone(Notifier({"NOTIFY_SOCKET": "@x"}).watchdog)
        self.assertIsNone(Notifier({"WATCHDOG_USEC": "1000"}).watchdog)
