"""The load of the WSGI benchmarks."""

from __future__ import annotations

import socket
import threading

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.wsgi_load import Page, run_load

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n%b\r\nhello"
KEPT, CLOSED = ANSWER % b"", ANSWER % b"Connection: close\r\n"


class LoadTests(SynchronousTestCase):
    """What one measurement says."""

    def page(self, *answers: bytes, closing: bool = False) -> Page:
        """A server that gives these answers on its first connections, the last one again and
        again.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)

        def serve() -> None:
            left = list(answers)
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    while connection.recv(65_536):
                        answer = left.pop(0) if len(left) > 1 else left[0]
                        for part in (answer[:20], answer[20:]):
                            connection.sendall(part)
                        if closing:
                            break

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(listening.shutdown, socket.SHUT_RDWR)
        return Page(listening.getsockname()[1], "/", b"hello")

    def test_a_connection_is_kept_where_the_server_keeps_it(self) -> None:
        found = run_load(self.page(KEPT), 1, 0.1)
        self.assertEqual(found.connections, 1)
        self.assertGreater(found.count, 1)
        self.assertLess(found.rate, found.count / 0.1 + 1)
        self.assertLessEqual(found.p50, found.p99)

    def test_a_connection_is_made_anew_where_the_server_closes_it(self) -> None:
        found = run_load(self.page(CLOSED, closing=True), 2, 0.1)
        self.assertEqual(found.connections, found.count)

    def test_another_answer_spoils_it(self) -> None:
        for answer, closing, text in (
            (KEPT.replace(b"200 OK", b"500 No"), False, "answered b'HTTP/1.1 500"),
            (KEPT.replace(b"hello", b"HELLO"), False, "answered"),
            (KEPT[:-1], True, "has closed"),
            (b"HTTP/1.1 200 OK\r\n\r\n", False, "how long"),
        ):
            with self.assertRaisesRegex(RuntimeError, text):
                run_load(self.page(answer, closing=closing), 1, 0.1)
