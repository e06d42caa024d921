"""What the doors know of the settings."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.fake_sockets import connect
from tests.web.harness import Answer
from tests.web.test_mounts import FakeGateway
from twbridge.daemon.doors import Doors, chat_stream
from twbridge.settings import Allow, Http, Listen, Mount, Route, Settings, Stream


class ChatStreamTests(SynchronousTestCase):
    """The stream that the chat page reads."""

    def stream(self, *streams: tuple[str, tuple[str, ...]], **route: Any) -> str:
        return chat_stream(
            Settings(
                route=(Route(**route),),
                stream=tuple(
                    Stream(name=name, max_age="7D", bindings=bindings) for name, bindings in streams
                ),
            )
        )

    def test_it_is_the_first_that_is_bound_to_what_the_page_shows(self) -> None:
        chat = "/exchange/twbridge.chat/#"
        self.assertEqual(
            self.stream(("a", ("/topic/a",)), ("b", ("/topic/a", chat)), ("c", (chat,))),
            "/stream/b",
        )

    def test_its_name_is_encoded(self) -> None:
        self.assertEqual(
            self.stream(("a/b %", ("/exchange/amq.topic/c",)), subscribe="/topic/c"),
            "/stream/a%2Fb%20%25",
        )

    def test_without_one_there_is_none(self) -> None:
        self.assertEqual(self.stream(), "")
        self.assertEqual(self.stream(("a", ("/topic/a",))), "")
        self.assertEqual(self.stream(("a", ("/topic/a",)), subscribe="/queue/a"), "")


class PathTests(SynchronousTestCase):
    """Whose a path is, by the settings."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.gateway = FakeGateway()
        self.told: list[str] = []
        observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: dict[str, Any]) -> None:
        if "[[mount]]" in (event["log_format"] or ""):
            self.told.append(event["mount"])

    def open(self, settings: Settings) -> None:
        services: Any = None  # no session is opened
        settings = settings.model_copy(update={"listen": (Listen(endpoint="unix:/tmp/x"),)})
        doors = Doors(
            self.reactor, settings, services, self.gateway, (), lambda: (True, "ready"), 10
        )
        self.successResultOf(Deferred.fromCoroutine(doors.open()))
        [(_, door, *_rest)] = self.reactor.unixServers
        self.front: Any = door.front

    def status(self, target: str, *lines: str, method: str = "GET") -> int | None:
        """How it is answered; None: it went to a worker."""
        forwarded = len(self.gateway.requests)
        socket = connect(self.front, self.reactor, "127.0.0.1")
        head = [f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""]
        socket.deliver("\r\n".join(head).encode())
        self.reactor.advance(0)
        if len(self.gateway.requests) > forwarded:
            return None
        return Answer(socket.received).status

    def test_a_mount_of_everything_has_what_the_bridge_does_not_serve(self) -> None:
        self.open(Settings(mount=(Mount(path="/"),), allow=()))
        for target in ("/", "/api/items", "/api/", "/api", "/static/chat.js", "/static/icon.svg"):
            self.assertIsNone(self.status(target), target)
        for target in ("/healthz", "/readyz", "/static/twbridge.js"):
            self.assertEqual(self.status(target), 200, target)
        self.assertEqual(self.status("/ws"), 426)
        self.assertEqual(self.status("/api/publish"), 405)
        self.assertEqual(self.status("/api/call/add"), 405)
        self.assertEqual(self.status("/events?every=1"), 422)

    def test_and_more_where_the_api_is_switched_off(self) -> None:
        self.open(Settings(mount=(Mount(path="/"),), http=Http(api=False)))
        for target in ("/events?every=1", "/api/publish", "/api/poll", "/api/call/add"):
            self.assertIsNone(self.status(target), target)

    def test_without_the_api_and_the_page_there_is_nothing(self) -> None:
        self.open(Settings(http=Http(api=False, page=False), allow=(RULE,)))
        for target in ("/", "/events", "/api/publish", "/static/chat.css"):
            self.assertEqual(self.status(target), 404, target)
        self.assertEqual(self.status("/healthz"), 200)

    def test_on_trial_who_may_not_use_a_worker_is_logged_once(self) -> None:
        self.open(Settings())
        self.assertIsNone(self.status("/shop/"))
        self.assertEqual(self.told, [])
        for _ in range(2):
            target = f"/shop/{'x' * 5_000}"
            self.assertEqual(self.status(target, "X-Forwarded-For: 192.0.2.1"), 404)
        self.assertEqual(self.told, ["shop"])

    def test_with_rules_nobody_is(self) -> None:
        self.open(Settings(allow=(RULE,)))
        self.assertEqual(self.status("/shop/"), 404)
        self.assertEqual(self.told, [])


RULE = Allow(operation="subscribe", destination="/topic/a")
