"""The benchmarks' WebSocket clients, against a server that plays back bytes."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Sequence
from contextlib import closing
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.sockets import Address, Client, Herd, MarkerHerd, masked_text, masked_texts

_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class ClientTests(SynchronousTestCase):
    """One client before the counting begins."""

    def play(
        self, answers: Sequence[bytes], count: int = 1, *, deflate: bool = False
    ) -> list[Client]:
        """Clients of a server that answers each request with the pieces in turn."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve() -> None:
            for _ in range(count):
                connection, _ = listener.accept()
                self.addCleanup(connection.close)
                connection.recv(65536)
                for answer in answers:
                    connection.sendall(answer)

        server = Thread(target=serve)
        server.start()
        try:
            address = Address(listener.getsockname()[1])
            clients = [Client(address, deflate=deflate) for _ in range(count)]
        finally:
            server.join()
        for client in clients:
            self.addCleanup(client.socket.close)
        return clients

    def test_frames_are_read_whatever_pieces_they_come_in(self) -> None:
        long = b"\x81\x7e\x01\x00" + b"y" * 256
        (client,) = self.play([_UPGRADED + b"\x81", b"\x02ab" + long[:100], long[100:]])
        self.assertEqual(client.read_sized_frame(), (b"ab", 4))
        self.assertEqual(client.read_sized_frame(), (b"y" * 256, 260))
        self.assertEqual(client.unread, 0)

    def test_refused_upgrade_is_an_error_with_the_status(self) -> None:
        with self.assertRaisesRegex(ConnectionError, "503 Service Unavailable"):
            self.play([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"])

    def test_compressed_frame_is_inflated_and_counted_as_it_came(self) -> None:
        compressor = zlib.compressobj(wbits=-15)
        data = compressor.compress(b"z" * 300) + compressor.flush(zlib.Z_SYNC_FLUSH)
        frame = bytes([0xC1, len(data) - 4]) + data[:-4]
        upgraded = _UPGRADED[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        (client,) = self.play([upgraded + frame + b"\x81\x02ab"], deflate=True)
        self.assertEqual(client.read_sized_frame(), (b"z" * 300, len(frame)))
        self.assertEqual(client.read_frame(), b"ab")

    def test_server_that_does_not_compress_is_an_error(self) -> None:
        with self.assertRaisesRegex(ConnectionError, "does not compress"):
            self.play([_UPGRADED], deflate=True)

    def test_herd_counts_the_bytes_of_each_client(self) -> None:
        clients = self.play([_UPGRADED], count=2)
        with closing(Herd(clients)) as herd:
            self.assertEqual(herd.pump(0), [])
            self.assertEqual(herd.received, [0, 0])

    def test_marker_split_over_two_reads_counts_once(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        (client,) = self.play([_UPGRADED])
        client.socket.close()
        client.socket = ours
        with closing(MarkerHerd([client], b"MESSAGE\n")) as herd:
            theirs.sendall(b"MESSAGE\nbodyMES")
            herd.pump(1)
            theirs.sendall(b"SAGE\nbody")
            herd.pump(1)
            self.assertEqual(herd.received, [2])


class MaskedTextTests(SynchronousTestCase):
    """Frames that the clients send."""

    def unmask(self, frame: bytes, head: int) -> bytes:
        key, payload = frame[head : head + 4], frame[head + 4 :]
        return bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))

    def test_short_frame(self) -> None:
        frame = masked_text(b'{"op":"ping"}')
        self.assertEqual(frame[:2], bytes([0x81, 0x80 | 13]))
        self.assertEqual(json.loads(self.unmask(frame, 2)), {"op": "ping"})

    def test_frame_with_a_two_byte_length(self) -> None:
        frame = masked_text(b"z" * 300)
        self.assertEqual(frame[:4], b"\x81\xfe\x01\x2c")
        self.assertEqual(self.unmask(frame, 4), b"z" * 300)

    def test_frames_of_one_length_in_one_piece(self) -> None:
        frames = masked_texts([b"one", b"two", b"six"])
        self.assertEqual(len(frames), 3 * 9)
        for index, payload in enumerate((b"one", b"two", b"six")):
            frame = frames[index * 9 : index * 9 + 9]
            self.assertEqual(frame[:2], bytes([0x81, 0x80 | 3]))
            self.assertEqual(self.unmask(frame, 2), payload)

    def test_payloads_of_many_lengths_are_refused(self) -> None:
        for payloads in ([b"one", b"three"], [b"z" * 126]):
            with self.assertRaises(ValueError):
                masked_texts(payloads)
