"""A web application that publishes, for the tests: routes of Klein, and a resource of twisted.web.

The broker is that of the environment. ``PORT`` is where it listens, on loopback.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from klein import Klein
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.web.resource import Resource
from twisted.web.server import Site

from twbridge.errors import TwbridgeError
from twbridge.publishing import PublishingMixin, install

reactor: Any = _reactor
SECONDS = 0.05


class Page(PublishingMixin, Resource):
    """A resource of twisted.web, below the application."""

    isLeaf = True

    def __init__(self, application: object) -> None:
        super().__init__()
        self.application = application

    def render_POST(self, request: Any) -> bytes:
        queue = request.postpath[-1].decode()
        self.amqp_publish("", queue, request.content.read(), {"content_type": "text/x-page"})
        return b"sent"


class Notes(PublishingMixin):
    """The application. Each route publishes the body of the request to the queue of the path."""

    app = Klein()

    def __init__(self) -> None:
        self.told: list[Any] = []

    def publish(self, request: Any, queue: str, **options: Any) -> Deferred[None]:
        return self.amqp_publish("", queue, request.content.read(), **options)

    @app.route("/sync/<queue>", methods=["POST"])
    def sync(self, request: Any, queue: str) -> str:
        self.publish(request, queue)
        return "sent"

    @app.route("/async/<queue>", methods=["POST"])
    async def asynchronous(self, request: Any, queue: str) -> str:
        await deferLater(reactor, SECONDS)
        await self.publish(request, queue)
        return "confirmed"

    @app.route("/deferred/<queue>", methods=["POST"])
    def deferred(self, request: Any, queue: str) -> Deferred[str]:
        waited: Deferred[Any] = deferLater(reactor, SECONDS)
        waited.addCallback(lambda _: self.publish(request, queue))
        return waited.addCallback(lambda _: "confirmed")

    @app.route("/mandatory/<queue>", methods=["POST"])
    async def mandatory(self, request: Any, queue: str) -> str:
        await self.publish(request, queue, mandatory=True)
        return "confirmed"

    @app.route("/page", branch=True)
    def page(self, request: Any) -> Resource:
        return Page(self)

    @app.route("/state")
    def state(self, request: Any) -> str:
        return json.dumps(
            {
                "state": self.amqp_state,
                "description": self.amqp_state_description,
                "told": self.told,
                "again": install(self, on_state=lambda state: self.told.append("twice")),
            }
        )

    @app.handle_errors(TwbridgeError)
    def failed(self, request: Any, failure: Any) -> str:
        request.setResponseCode(503)
        code: str = failure.value.code
        return code


def main() -> None:
    """Serve until SIGTERM."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    notes = Notes()
    told = notes.told
    installed = install(
        notes,
        on_ready=lambda: told.append("on_ready"),
        on_unavailable=lambda reason: told.append(["on_unavailable", str(reason)]),
        on_return=lambda content: told.append(["on_return", content.body.decode()]),
        on_state=told.append,
    )
    assert installed
    site: Any = Site(notes.app.resource())
    listening = serverFromString(reactor, f"tcp:{os.environ['PORT']}:interface=127.0.0.1")
    listening.listen(site).addCallback(lambda _: print("app: serves notes", flush=True))
    reactor.run()


if __name__ == "__main__":
    main()
