"""The id of the request that is served, on what is published meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import Context
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from klein import Klein
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred, inlineCallbacks, succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.test.requesthelper import DummyChannel

from tests.fakes import FakeLink
from twbridge.correlation import current_id, request_id
from twbridge.publishing import PublishingMixin, install

NEW = re.compile(r"[0-9a-f]{32}")


def make_request(path: bytes = b"/", **headers: str) -> Any:
    """A request of twisted.web, with these header fields."""
    request: Any = Request(DummyChannel(), True)
    request.method, request.uri, request.path = b"GET", path, path
    request.clientproto = b"HTTP/1.1"
    request.prepath, request.postpath = [], path[1:].split(b"/")
    for name, value in headers.items():
        request.requestHeaders.addRawHeader(name.replace("_", "-").encode(), value.encode())
    return request


def answered(request: Any) -> list[bytes] | None:
    """What the answer's X-Request-ID says."""
    found: list[bytes] | None = request.responseHeaders.getRawHeaders(b"X-Request-ID")
    return found


class RequestIdTests(SynchronousTestCase):
    """``request_id(request)``."""

    def test_it_is_what_the_client_sent_and_is_told_to_it(self) -> None:
        for name in ("X_Request_ID", "X_Correlation_ID", "Correlation_ID"):
            request = make_request(b"/", **{name: "order/7"})
            self.assertEqual(request_id(request), "order/7")
            self.assertEqual(answered(request), [b"order/7"])

    def test_x_request_id_comes_first(self) -> None:
        request = make_request(X_Correlation_ID="second", X_Request_ID="first")
        self.assertEqual(request_id(request), "first")

    def test_one_that_is_not_sane_is_replaced(self) -> None:
        for sent in ("", "a b", "x" * 129, "é", "a\tb", "\x7f"):
            request = make_request(X_Request_ID=sent)
            self.assertRegex(request_id(request), NEW)
            self.assertEqual(answered(request), [request_id(request).encode()])
        self.assertEqual(request_id(make_request(X_Request_ID="x" * 128)), "x" * 128)

    def test_without_one_it_is_new_and_stays(self) -> None:
        request, other = make_request(), make_request()
        self.assertRegex(request_id(request), NEW)
        self.assertEqual(request_id(request), request_id(request))
        self.assertNotEqual(request_id(request), request_id(other))

    @given(st.binary(max_size=200))
    def test_whatever_is_sent_it_is_sane(self, sent: bytes) -> None:
        request = make_request()
        request.requestHeaders.setRawHeaders(b"X-Request-ID", [sent])
        self.assertRegex(request_id(request), r"\A[\x21-\x7e]{1,128}\Z")


class Publishing(PublishingMixin):
    """Publishes something."""

    def note(self, *_: object, **options: Any) -> Deferred[None]:
        return self.amqp_publish("notes", "created", b"note", **options)


class Page(Publishing, Resource):
    """A resource of twisted.web."""

    def render_GET(self, request: Any) -> bytes:
        self.note()
        return b"done"


class Late(Resource, Publishing):
    """The mixin after the resource; a coroutine that goes on after the render."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Deferred[None] = Deferred()

    def render(self, request: Any) -> int:
        self.going_on = Deferred.fromCoroutine(self._go_on(request))
        return NOT_DONE_YET

    async def _go_on(self, request: Any) -> None:
        await self.before
        self.note()
        request.finish()


class Notes(Publishing):
    """Routes of Klein in every style. ``gate`` is what they wait for."""

    app = Klein()

    def __init__(self) -> None:
        self.gate: Deferred[None] = Deferred()

    def wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.gate.chainDeferred(waiting)
        self.gate = Deferred()
        self.gates.append(waiting)
        return waiting

    gates: list[Deferred[None]]

    @app.route("/sync")
    def sync(self, request: Any) -> str:
        self.note()
        return "done"

    @app.route("/async")
    async def asynchronous(self, request: Any) -> str:
        await self.wait()
        self.note()
        return "done"

    @app.route("/generator")
    @inlineCallbacks
    def generator(self, request: Any) -> Any:
        yield self.wait()
        self.note()
        return "done"

    @app.route("/deferred")
    def deferred(self, request: Any) -> Deferred[str]:
        return self.wait().addCallback(self.then)

    @app.route("/chained")
    def chained(self, request: Any) -> Deferred[str]:
        return succeed(None).addCallback(lambda _: self.wait().addCallback(self.then))

    @app.route("/nested")
    def nested(self, request: Any) -> Deferred[str]:
        return self.wait().addCallback(lambda _: self.wait().addCallback(self.then))

    @app.route("/failing")
    def failing(self, request: Any) -> Deferred[Any]:
        return self.wait().addCallback(lambda _: 1 / 0)

    @app.route("/named")
    def named(self, request: Any) -> Any:
        self.wait().addCallback(lambda _: self.note(request=request))
        return NOT_DONE_YET

    @app.route("/loops")
    def loops(self, request: Any) -> str:
        ensureDeferred(self.asynchronous(request))
        Context().run(ensureDeferred, self.asynchronous(request))
        return "begun"

    @app.route("/page", branch=True)
    def page(self, request: Any) -> Resource:
        return self.child

    child: Resource

    @app.handle_errors(ZeroDivisionError)
    def failed(self, request: Any, failure: object) -> str:
        self.note()
        return "failed"

    def then(self, _: object) -> str:
        self.note()
        return "done"


class CorrelationTests(SynchronousTestCase):
    """What a resource publishes has the id of its request."""

    link: Any

    def setUp(self) -> None:
        self.link = FakeLink()
        self.notes = Notes()
        self.notes.gates = []
        install(self.notes, self.link)

    def published(self) -> list[Any]:
        """The correlation ids, in order."""
        found = []
        for each in self.link.published:
            found.append((each.properties or {}).get("correlation_id"))
        return found

    def ask(self, path: str, identity: str) -> Any:
        """Ask the Klein application."""
        request = make_request(f"/{path}".encode(), X_Request_ID=identity)
        request.site = Site(Resource())
        self.notes.app.resource().render(request)
        return request

    def fire(self, number: int = -1) -> None:
        self.notes.gates.pop(number).callback(None)

    def test_a_resource_of_twisted_web_needs_nothing_else(self) -> None:
        page = Page()
        install(page, self.link)
        request = make_request(X_Request_ID="r-1")
        self.assertEqual(page.render(request), b"done")
        self.assertEqual((self.published(), answered(request)), (["r-1"], [b"r-1"]))

    def test_a_resource_may_go_on_in_a_coroutine_and_the_mixin_may_come_last(self) -> None:
        page = Late()
        install(page, self.link)
        request = make_request(X_Request_ID="r-1")
        page.render(request)
        page.before.callback(None)
        self.successResultOf(page.going_on)
        self.assertEqual(self.published(), ["r-1"])

    def test_a_class_below_that_renders_otherwise_does_too(self) -> None:
        class Below(Page):
            def render(self, request: Any) -> bytes:
                self.note()
                return super().render(request)

        page = Below()
        install(page, self.link)
        page.render(make_request(X_Request_ID="r-1"))
        self.assertEqual(self.published(), ["r-1", "r-1"])

    def test_a_route_that_answers_at_once(self) -> None:
        request = self.ask("sync", "r-1")
        self.assertEqual((self.published(), answered(request)), (["r-1"], [b"r-1"]))

    def test_requests_that_are_served_side_by_side_keep_their_own(self) -> None:
        for path in ("async", "generator", "deferred", "chained"):
            del self.link.published[:]
            self.ask(path, "first")
            self.ask(path, "second")
            self.assertEqual(self.published(), [])
            self.fire()
            self.fire()
            self.assertEqual(self.published(), ["second", "first"], path)

    def test_a_deferred_that_a_callback_returns_is_the_requests_too(self) -> None:
        self.ask("nested", "r-1")
        self.fire()
        self.fire()
        self.assertEqual(self.published(), ["r-1"])

    def test_one_request_that_lets_another_go_on_gives_it_nothing(self) -> None:
        lock = DeferredLock()

        class Locked(Publishing):
            app = Klein()

            @app.route("/")
            def one(self, request: Any) -> Deferred[str]:
                return lock.acquire().addCallback(self.then)

            @app.route("/release")
            def release(self, request: Any) -> str:
                lock.release()
                return "released"

            def then(self, _: object) -> str:
                self.note()
                return "done"

        locked = Locked()
        install(locked, self.link)
        resource = locked.app.resource()
        lock.acquire()
        resource.render(make_request(X_Request_ID="waits"))
        resource.render(make_request(b"/release", X_Request_ID="releases"))
        self.assertEqual(self.published(), ["waits"])

    def test_what_others_have_on_a_shared_deferred_is_not_the_requests(self) -> None:
        def note(result: object) -> object:
            self.notes.note()
            return result

        shared: Deferred[Any] = Deferred()
        shared.addCallback(note)
        told: list[object] = []

        class Waiting(Publishing):
            app = Klein()

            @app.route("/own")
            def own(self, request: Any) -> Deferred[str]:
                def tell(result: Any) -> Any:
                    own.callback(result)
                    return result

                own: Deferred[str] = Deferred()
                shared.addBoth(tell)
                return own.addCallback(self.then)

            def then(self, result: str) -> str:
                self.note()
                return result

        waiting = Waiting()
        install(waiting, self.link)
        waiting.app.resource().render(make_request(b"/own", X_Request_ID="r-1"))
        shared.addCallback(told.append)
        shared.callback("done")
        self.assertEqual((self.published(), told), ([None, "r-1"], ["done"]))

    def test_what_handles_an_error_of_a_route_knows_the_request(self) -> None:
        self.ask("failing", "r-1")
        self.fire()
        self.assertEqual(self.published(), ["r-1"])

    def test_what_a_route_leaves_behind_keeps_it_but_in_a_context_of_its_own(self) -> None:
        self.ask("loops", "r-1")
        self.fire(0)
        self.fire()
        self.assertEqual(self.published(), ["r-1", None])

    def test_a_request_may_be_named(self) -> None:
        self.ask("named", "r-1")
        self.fire()
        self.assertEqual(self.published(), ["r-1"])

    def test_a_resource_that_a_route_returns_has_the_same_id(self) -> None:
        child = Page()
        child.isLeaf = True
        install(child, self.link)
        self.notes.child = child
        request = self.ask("page/below", "r-1")
        self.assertEqual((self.published(), answered(request)), (["r-1"], [b"r-1"]))

    def test_routes_that_come_after_the_class_are_served_alike(self) -> None:
        Notes.app.route("/later")(lambda self, request: self.sync(request))
        self.ask("later", "r-1")
        self.assertEqual(self.published(), ["r-1"])

    def test_functions_of_an_application_that_is_installed_are_served_alike(self) -> None:
        app = Klein()
        publisher: Any = Publishing()
        install(app, self.link)
        publisher.app = app
        app.route("/")(publisher.note)
        app.resource().render(make_request(X_Request_ID="r-1"))
        self.assertEqual(self.published(), ["r-1"])

    def test_applications_of_one_class_stay_so(self) -> None:
        applications = Klein(), Klein()
        for each in applications:
            install(each, self.link)
            self.assertIsInstance(each, Klein)
        self.assertEqual(len({type(each) for each in applications}), 1)

    def test_outside_of_a_request_there_is_none(self) -> None:
        self.ask("sync", "r-1")
        self.assertIsNone(current_id())
        self.notes.note()
        self.assertEqual(self.published(), ["r-1", None])

    def test_an_explicit_property_wins(self) -> None:
        given = {"correlation_id": "mine", "type": "note"}
        styles: tuple[Callable[[], object], ...] = (
            lambda: self.notes.note(properties=given),
            lambda: self.notes.note(properties={"correlation_id": None}),
            lambda: self.notes.note(properties={"type": "note"}),
        )
        for number, publish in enumerate(styles):
            path = f"explicit{number}"
            # Bound early: the route is called when the request comes.
            Notes.app.route(f"/{path}", endpoint=path)(
                lambda self, request, publish=publish: publish() and "done"
            )
            self.ask(path, "r-1")
        self.assertEqual(self.published(), ["mine", None, "r-1"])
        self.assertEqual(self.link.published[2].properties["type"], "note")
        self.assertEqual(given, {"correlation_id": "mine", "type": "note"})
