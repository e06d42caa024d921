"""Publishing in an app: real applications over HTTP, with RabbitMQ and the embedded broker."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, gatherResults

from tests.integration.rabbitmq import free_ports, in_thread
from tests.integration.rpc_cases import OnEmbedded, TaskCase, WorkerProcess

APP = Path(__file__).with_name("publishing_app.py")
DOCUMENT = APP.parent.parent.parent / "docs" / "publishing.md"
SECONDS = 15.0


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int
    body: str
    request_id: str | None


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> Deferred[Answer]:
    """GET, or POST where there is a body."""

    def work() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET" if body is None else "POST", path, body, named)
            answer = connection.getresponse()
            said = answer.read().decode()
            return Answer(answer.status, said, answer.getheader("X-Request-ID"))
        finally:
            connection.close()

    return in_thread(work)


class Application(WorkerProcess):
    """A web application as a process of its own; ``port`` is where it listens."""

    def __init__(self, folder: Path, url: str, program: Path, **environment: str) -> None:
        (self.port,) = free_ports(1)
        super().__init__(
            folder, url, program=(sys.executable, str(program)), PORT=str(self.port), **environment
        )


class AppCase(TaskCase):
    """Tests on one application of the class's own."""

    folder: Path
    app: Application

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.folder = Path(tempfile.mkdtemp(prefix="twbridge-app-"))
        cls.app = Application(cls.folder, cls.node.url(), APP)
        cls.app.serves()

    @classmethod
    def tearDownClass(cls) -> None:
        """Nothing went wrong in it."""
        try:
            cls.app.stop()
            for word in ("Traceback", "Unhandled", "guest:guest", "Error"):
                assert word not in cls.app.said, cls.app.said
        finally:
            cls.app.close()
            shutil.rmtree(cls.folder)
            super().tearDownClass()

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> Deferred[Answer]:
        return ask(self.app.port, path, body, **headers)

    async def messages(self, queue: str, count: int) -> list[tuple[Any, bytes]]:
        """So many messages out of a queue."""
        found: list[tuple[Any, bytes]] = []
        while len(found) < count:
            found += await self.drain(queue)
        self.assertEqual(len(found), count)
        return found


class AppScenarios(AppCase):
    """The row "In an app"."""

    __test__ = False

    async def test_klein_resources_publish_in_every_style(self) -> None:
        queue = await self.queue()
        for style, said in (("sync", "sent"), ("async", "confirmed"), ("deferred", "confirmed")):
            answer = await self.ask(f"/{style}/{queue}", style.encode())
            self.assertEqual((answer.status, answer.body), (200, said))
            ((properties, body),) = await self.messages(queue, 1)
            self.assertEqual(body, style.encode())
            self.assertRegex(answer.request_id or "", r"^[0-9a-f]{32}$")
            self.assertEqual(properties.correlation_id, answer.request_id)

    async def test_a_resource_of_twisted_web_publishes(self) -> None:
        queue = await self.queue()
        answer = await self.ask(f"/page/{queue}", b"\xff\x00", X_Request_ID="from-the-client")
        self.assertEqual(answer, (200, "sent", "from-the-client"))
        ((properties, body),) = await self.messages(queue, 1)
        self.assertEqual((body, properties.content_type), (b"\xff\x00", "text/x-page"))
        self.assertEqual(properties.correlation_id, "from-the-client")

    async def test_each_message_has_the_correlation_id_of_its_request(self) -> None:
        queue = await self.queue()
        names = [f"{style}-{number}" for style in ("async", "deferred") for number in range(8)]
        answers = await gatherResults(
            self.ask(f"/{name.partition('-')[0]}/{queue}", name.encode(), X_Correlation_ID=name)
            for name in names
        )
        self.assertEqual([answer.request_id for answer in answers], names)
        found = await self.messages(queue, len(names))
        for properties, body in found:
            self.assertEqual(properties.correlation_id, body.decode())
        self.assertEqual(sorted(body.decode() for _, body in found), sorted(names))

    async def test_install_twice_returns_false(self) -> None:
        state = json.loads((await self.ask("/state")).body)
        self.assertIs(state["again"], False)
        self.assertNotIn("twice", state["told"])

    async def test_resources_tell_the_state_of_the_link_and_callbacks_are_called(self) -> None:
        # What was published before has waited for the link.
        await self.ask(f"/async/{await self.queue()}", b"1")
        state = await self.state_of_link("ready")
        self.assertEqual(state["description"], "connected")
        self.assertEqual(state["told"][:3], ["connecting", "ready", "on_ready"])

    async def test_a_message_that_no_queue_takes_is_returned_to_on_return(self) -> None:
        body = uuid.uuid4().hex
        answer = await self.ask(f"/mandatory/{uuid.uuid4()}", body.encode())
        self.assertEqual((answer.status, answer.body), (503, "unroutable"))
        state = json.loads((await self.ask("/state")).body)
        self.assertEqual(state["told"].count(["on_return", body]), 1)

    async def state_of_link(self, wanted: str) -> Any:
        """What the application says, when its link is in a state."""
        while True:
            state = json.loads((await self.ask("/state")).body)
            if state["state"] == wanted:
                return state


class RabbitMQAppTests(AppScenarios):
    """With RabbitMQ."""

    __test__ = True

    async def test_a_lost_connection_is_told_once_and_comes_back(self) -> None:
        await self.state_of_link("ready")
        await in_thread(self.node.ctl, "close_all_connections", "as the test says")
        queue = await self.queue()
        answer = await self.ask(f"/async/{queue}", b"afterwards")
        self.assertEqual(answer.status, 200)
        told: list[Any] = []
        while told.count("on_ready") < 2:
            told = json.loads((await self.ask("/state")).body)["told"]
        lost = [each[1] for each in told if each[0] == "on_unavailable"]
        self.assertEqual(len(lost), 1)
        self.assertIn("as the test says", lost[0])


class EmbeddedAppTests(OnEmbedded, AppScenarios):
    """With the embedded broker."""

    __test__ = True

    async def test_while_the_link_is_down_it_waits_as_long_as_the_environment_says(self) -> None:
        (port,) = free_ports(1)
        folder = Path(tempfile.mkdtemp(prefix="twbridge-app-"))
        self.addCleanup(shutil.rmtree, folder)
        url = f"amqp://guest:guest@127.0.0.1:{port}"
        app = Application(folder, url, APP, AMQP_TIMEOUT="0.5")
        self.addCleanup(lambda: in_thread(app.close))
        await in_thread(app.serves)
        answer = await ask(app.port, "/async/any", b"1")
        self.assertEqual((answer.status, answer.body), (503, "not_ready"))
        state = json.loads((await ask(app.port, "/state")).body)
        self.assertEqual(state["state"], "connecting")
        self.assertIn("refused", state["description"])

    async def test_the_program_of_the_documentation_works(self) -> None:
        (program,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
        self.assertIn("listenTCP(8000, ", program)
        file = self.folder / "orders.py"
        app_port = "listenTCP(int(__import__('os').environ['PORT']), "
        file.write_text(program.replace("listenTCP(8000, ", app_port))
        app = Application(self.folder, self.node.url(), file)
        self.addCleanup(lambda: in_thread(app.close))

        async def answers() -> bool:
            try:
                answer = await ask(app.port, "/", b'{"total": 3}')
            except ConnectionRefusedError:
                return False
            self.assertEqual((answer.status, answer.body), (200, "taken\n"))
            return True

        while not await answers():
            self.assertIsNone(app.process.poll(), app.said)
