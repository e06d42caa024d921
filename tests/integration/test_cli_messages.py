"""``twbridge sub`` and ``twbridge pub`` as processes, with the whole daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

from tests.integration.bridge import in_thread
from tests.integration.cases import pause
from tests.integration.rabbitmq import free_ports
from tests.integration.subscription_cases import StreamCase

TWBRIDGE = Path(sys.executable).with_name("twbridge")
SECONDS = 30.0


class Said(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


class Command:
    """One that runs, whose output can be waited for."""

    def __init__(self, *arguments: str, url: str) -> None:
        self.process = subprocess.Popen(
            [str(TWBRIDGE), *arguments],
            env={"PATH": os.environ["PATH"], "TWBRIDGE_URL": url, "LANG": "C"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # As a shell does it: what runs in the background ignores SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.lines: Queue[str] = Queue()
        self.out: list[str] = []
        self.err: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, pipe: Any, lines: list[str]) -> None:
        with pipe:
            for line in pipe:
                lines.append(line.decode())
                self.lines.put(line.decode())

    def wait_for(self, text: str) -> None:
        """Wait for a line with a text, on stdout or stderr."""
        try:
            while text not in self.lines.get(timeout=SECONDS):
                pass
        except Empty:
            raise AssertionError(f"no {text!r} in {self.out} and {self.err}") from None

    def end(self) -> Said:
        """Wait for its end."""
        code = self.process.wait(SECONDS)
        for thread in self._threads:
            thread.join()
        return Said(code, "".join(self.out), "".join(self.err))

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        for thread in self._threads:
            thread.join()


class CommandCase(StreamCase):
    """Commands that are gone after the test."""

    timeout = 90

    def start(self, *arguments: str, url: str | None = None) -> Command:
        """Start a command."""
        command = Command(*arguments, url=url or self.bridge.url())
        self.addCleanup(lambda: in_thread(command.close))
        return command

    async def run_command(self, *arguments: str, given: str = "", url: str | None = None) -> Said:
        """Run a command to its end."""
        command = self.start(*arguments, url=url)
        assert command.process.stdin is not None
        command.process.stdin.write(given.encode())
        command.process.stdin.close()
        return await in_thread(command.end)

    async def subscribed(self, destination: str, *options: str) -> Command:
        """A subscriber that hears what is published from now on."""
        command = self.start("sub", destination, *options)
        client, marker = await self.json(), f"marker-{uuid.uuid4()}"
        for _ in range(1_000):
            await client.publish(destination, marker)
            if any(marker in line for line in command.out):
                break
            await pause(0.01)
        last = f"last-{uuid.uuid4()}"
        await client.publish(destination, last)
        await self.until(lambda: any(last in line for line in command.out))
        command.out.clear()
        return command

    def topic(self) -> str:
        """A destination of the test's own."""
        return f"/topic/test.{uuid.uuid4()}"


class PublishTests(CommandCase):
    """``twbridge pub``."""

    async def published(self, *arguments: str, given: str = "") -> tuple[Any, bytes]:
        """Publish to a queue; gives what is in it."""
        queue = await self.queue()
        said = await self.run_command("pub", f"/queue/{queue}", *arguments, given=given)
        self.assertEqual(said, (0, "", ""))
        ((properties, body),) = await self.drain(queue)
        return properties, body

    async def test_text_json_bytes_and_stdin(self) -> None:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(b"\xff\x00")
        for arguments, given, body, kind in (
            (("héllo",), "", "héllo".encode(), "text/plain; charset=utf-8"),
            (("--json", '{"a": 1.10}'), "", b'{"a": 1.10}', "application/json"),
            (("--file", str(path)), "", b"\xff\x00", "application/octet-stream"),
            ((), "from stdin\n", b"from stdin\n", "text/plain; charset=utf-8"),
            (("-",), "from stdin", b"from stdin", "text/plain; charset=utf-8"),
            (("--json",), "[1]\n", b"[1]\n", "application/json"),
        ):
            properties, found = await self.published(*arguments, given=given)
            self.assertEqual((found, properties.content_type), (body, kind))

    async def test_headers_and_properties(self) -> None:
        properties, _ = await self.published(
            *("x", "--header", "a=b=c", "--header", "d="),
            *("--property", "priority=3", "--property", "content_type=a/b"),
        )
        self.assertEqual(properties.headers, {"a": "b=c", "d": ""})
        self.assertEqual((properties.priority, properties.content_type), (3, "a/b"))

    async def test_each_line_is_a_message(self) -> None:
        queue = await self.queue()
        given = "".join(f"{number}\n" for number in range(500)) + "the end"
        said = await self.run_command("pub", f"/queue/{queue}", "--lines", given=given)
        self.assertEqual(said, (0, "", ""))
        found = [body.decode() for _, body in await self.drain(queue)]
        self.assertEqual(found, given.split("\n"))

    async def test_lines_are_published_as_they_come(self) -> None:
        topic = self.topic()
        subscriber = await self.subscribed(topic)
        publisher = self.start("pub", topic, "--lines")
        assert publisher.process.stdin is not None
        for word in ("one", "two"):
            publisher.process.stdin.write(f"{word}\n".encode())
            publisher.process.stdin.flush()
            await in_thread(subscriber.wait_for, word)
        publisher.process.stdin.close()
        self.assertEqual((await in_thread(publisher.end)).code, 0)

    async def test_the_first_line_that_is_refused_ends_it(self) -> None:
        said = await self.run_command(
            "pub", f"/queue/{uuid.uuid4()}", "--lines", given="one\ntwo\n"
        )
        self.assertEqual(
            said, (1, "", "twbridge: Line 1: unroutable: No queue took the message.\n")
        )
        said = await self.run_command("pub", self.topic(), "--lines", "--json", given="1\n{\n3\n")
        self.assertEqual((said.code, said.out), (2, ""))
        self.assertTrue(said.err.startswith("twbridge: Line 2: The body is not JSON"), said.err)

    async def test_a_refusal_is_one_line_with_its_code_and_exit_code_1(self) -> None:
        for arguments, line in (
            (("pub", f"/queue/{uuid.uuid4()}", "x"), "unroutable: No queue took the message."),
            (("pub", self.topic(), "x", "--mandatory"), "unroutable: No queue took the message."),
            (
                ("pub", "/exchange/nowhere/k", "x"),
                "not_found: There is no such exchange or queue: /exchange/nowhere/k",
            ),
        ):
            self.assertEqual(await self.run_command(*arguments), (1, "", f"twbridge: {line}\n"))
        said = await self.run_command("sub", self.topic(), "/stream/nope")
        self.assertEqual((said.code, said.out), (1, ""))
        self.assertTrue(said.err.endswith(": /stream/nope\n"), said.err)
        said = await self.run_command("pub", self.topic(), "x", "--no-mandatory")
        self.assertEqual(said, (0, "", ""))

    async def test_no_bridge_is_exit_code_3_in_time(self) -> None:
        (port,) = free_ports(1)
        url = f"ws://127.0.0.1:{port}/ws"
        said = await self.run_command("pub", self.topic(), "x", "--timeout", "1", url=url)
        self.assertEqual((said.code, said.out), (3, ""))
        self.assertIn("Connection refused. Trying again.\n", said.err)
        self.assertTrue(said.err.endswith("not_ready: There was no connection in 1 s.\n"))

    async def test_the_same_id_of_a_client_is_published_once(self) -> None:
        queue, client = await self.queue(), str(uuid.uuid4())
        for _ in range(2):
            said = await self.run_command(
                "pub", f"/queue/{queue}", "x", "--client", client, "--id", "1"
            )
            self.assertEqual(said.code, 0)
        ((properties, _),) = await self.drain(queue)
        self.assertEqual(properties.message_id, f"{client}/1")

    async def test_a_url_or_uuid_that_is_none_is_usage(self) -> None:
        for options in (("--url", "http://h"), ("--client", "me")):
            said = await self.run_command("pub", self.topic(), "x", *options)
            self.assertEqual((said.code, said.out, len(said.err.splitlines())), (2, "", 1))


class SubscribeTests(CommandCase):
    """``twbridge sub``."""

    async def test_it_ends_after_so_many_messages(self) -> None:
        topic = self.topic()
        command = await self.subscribed(topic)
        client = await self.json()
        await client.publish(topic, {"a": "é"}, headers={"h": 1})
        await in_thread(command.wait_for, '{"a":"é"}')
        self.assertRegex(command.out[-1], rf'^\d\d:\d\d:\d\d\.\d\d\d {topic[7:]} {{"a":"é"}}\n$')
        stream = await self.stream()
        await self.fill(stream, range(10))
        said = await self.run_command("sub", f"/stream/{stream}", "--from", "first", "--count", "3")
        self.assertEqual((said.code, said.err), (0, ""))
        self.assertEqual(
            [line.split(" ", 1)[1] for line in said.out.splitlines()],
            [f"/stream/{stream}@{number} {number}" for number in range(3)],
        )

    async def test_json_is_the_frame_of_the_bridge(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(3), headers={"h": 1})
        said = await self.run_command(
            "sub", f"/stream/{stream}", "--from", "offset=1", "--count", "2", "--json"
        )
        frames = [json.loads(line) for line in said.out.splitlines()]
        self.assertEqual([frame["offset"] for frame in frames], [1, 2])
        self.assertEqual(frames[0]["op"], "message")
        self.assertEqual((frames[0]["body"], frames[0]["headers"]), ("1", {"h": 1}))

    async def test_no_more_is_taken_from_a_queue_than_is_printed(self) -> None:
        queue = await self.queue()
        await self.fill(queue, range(10))
        said = await self.run_command("sub", f"/queue/{queue}", "--count", "4")
        self.assertEqual((said.code, len(said.out.splitlines())), (0, 4))
        self.assertIn(f"/queue/{queue} 3\n", said.out)
        await self.has(queue, (6, 0))

    async def test_several_destinations(self) -> None:
        one, two = await self.queue(), await self.queue()
        await self.fill(one, ["a"])
        await self.fill(two, ["b"])
        said = await self.run_command("sub", f"/queue/{one}", f"/queue/{two}", "--count", "2")
        self.assertEqual((said.code, len(said.out.splitlines())), (0, 2))

    async def test_a_refusal_is_one_line_with_its_code_and_exit_code_1(self) -> None:
        said = await self.run_command("sub", f"/amq/queue/{uuid.uuid4()}")
        self.assertEqual((said.code, said.out), (1, ""))
        self.assertRegex(said.err, r"^twbridge: not_found: .*: /amq/queue/\S+\n$")
        said = await self.run_command("sub", "/topic/a", "--overflow", "block")
        self.assertRegex(said.err, r"^twbridge: bad_frame: .*\.\n$")
        said = await self.run_command("sub", "/topic/a", url=self.bridge.url("/nowhere"))
        self.assertEqual(said, (1, "", "twbridge: The handshake was refused: 404 Not Found.\n"))

    async def test_nothing_in_time_is_exit_code_3(self) -> None:
        said = await self.run_command("sub", self.topic(), "--timeout", "1")
        self.assertEqual(said, (3, "", "twbridge: Nothing came for 1 s.\n"))
        (port,) = free_ports(1)
        url = f"ws://127.0.0.1:{port}/ws"
        said = await self.run_command("sub", self.topic(), "--timeout", "1", url=url)
        self.assertEqual((said.code, said.out), (3, ""))
        self.assertIn(f"There was no connection to {url} in 1 s: ", said.err)

    async def test_interrupted_is_130_and_terminated_is_143(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            command = await self.subscribed(self.topic())
            command.process.send_signal(number)
            said = await in_thread(command.end)
            self.assertEqual((said.code, said.err), (128 + number, ""))
        topic = self.topic()
        subscriber = await self.subscribed(topic)
        publisher = self.start("pub", topic, "--lines")
        assert publisher.process.stdin is not None
        publisher.process.stdin.write(b"it reads\n")
        publisher.process.stdin.flush()
        await in_thread(subscriber.wait_for, "it reads")
        publisher.process.send_signal(signal.SIGINT)
        self.assertEqual(await in_thread(publisher.end), (130, "", ""))

    async def test_it_ends_when_nobody_reads_it_though_nothing_comes(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(2))
        command = f"{TWBRIDGE} sub /stream/{stream} --from first | head -n 2"
        done = await in_thread(
            lambda: subprocess.run(
                command,
                shell=True,
                env={"PATH": os.environ["PATH"], "TWBRIDGE_URL": self.bridge.url()},
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(len(done.stdout.splitlines()), 2)

    async def test_it_ends_quietly_when_nobody_reads_it(self) -> None:
        stream = await self.stream()
        await self.fill(stream, range(5_000))
        shell = f"{TWBRIDGE} sub /stream/{stream} --from first | head -n 2; echo ${{PIPESTATUS[0]}}"
        done = await in_thread(
            subprocess.run,
            ["bash", "-c", shell],
            env={"PATH": os.environ["PATH"], "TWBRIDGE_URL": self.bridge.url()},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        lines = done.stdout.splitlines()
        self.assertEqual((len(lines), lines[-1], done.stderr), (3, "0", ""))

    async def test_a_bridge_that_restarts_is_told_and_nothing_of_a_stream_is_lost(self) -> None:
        bridge, stream = await self.another(), await self.stream()
        await self.fill(stream, range(3))
        command = self.start(
            "sub", f"/stream/{stream}", "--from", "first", "--count", "6", url=bridge.url()
        )
        await in_thread(command.wait_for, "@2 2")
        await in_thread(bridge.kill)
        await in_thread(command.wait_for, "Trying again.")
        await self.fill(stream, range(3, 6))
        await in_thread(bridge.start)
        said = await in_thread(command.end)
        self.assertEqual(said.code, 0)
        self.assertEqual([line.split()[-1] for line in said.out.splitlines()], list("012345"))
        # Behind it there may be more: that bridge was there before its own broker was.
        self.assertIn("Trying again.\ntwbridge: Connected again.\n", said.err)
