"""A site that does its work through queues: Klein, and twbridge as a library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from klein import Klein
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.pages import forbidden
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from twisted.web.static import File

from twbridge.errors import ChannelClosed, LinkError, NotReady, TwbridgeError
from twbridge.polling import Polls
from twbridge.publishing import PublishingMixin, install
from twbridge.rpc import Caller, gather
from twbridge.rpc.names import PUBSUB, task_queue
from twbridge.wsgi.messages import queue_of

#: The channel of all pages of all instances.
NEWS = "frontend.news"
#: The task of tasks.py, and the seconds that a call of it may take.
FACTORS, SECONDS = "frontend.factors", 3.0
#: The page loads and asks nothing but what is here, and is in no frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: What a browser may call this site. Any other name may be another site's that leads here (DNS
#: rebinding), and what its pages ask would look like what ours do.
HOSTS = (b"localhost", b"127.0.0.1")

Numbers = Annotated[list[Annotated[int, Meta(le=2**53)]], Meta(max_length=20)]
UNREADABLE = "Up to 20 whole numbers, of 2**53 at most, are wanted: ?numbers=12,97"


class Line(msgspec.Struct):
    """What is published."""

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    text: Annotated[str, Meta(min_length=1, max_length=1000)]


class Frontend(PublishingMixin):
    """The site.

    Args:
        caller: its way to the broker; ``start`` starts it.
        flask: what answers below ``/app/``.
    """

    app = Klein()

    def __init__(self, caller: Caller, flask: IResource) -> None:
        install(self, caller.link)  # for self.amqp_publish
        self.caller = caller
        self.polls = Polls(caller)
        self.flask = flask
        self.requests = self.published = self.received = 0

    async def start(self) -> None:
        """Listen to the channel.

        Raises:
            NotReady: the broker is not there in 10 s.
        """
        await self.caller.start()
        await self.caller.subscribe(NEWS, self._heard)

    def _heard(self, channel: str, value: Any) -> None:
        self.received += 1

    @app.route("/", branch=True)
    def page(self, request: Request) -> IResource:
        """The page, and its script and style."""
        request.setHeader("Content-Security-Policy", POLICY)
        request.setHeader("X-Content-Type-Options", "nosniff")
        return File(str(Path(__file__).parent / "page"))

    @app.route("/fast")
    def fast(self, request: Request) -> bytes:
        """No queue, no wait: while workers compute this process is free to answer."""
        return as_json(request, {"requests": self.requests})

    @app.route("/stat")
    async def stat(self, request: Request) -> bytes:
        """Numbers."""
        workers = {
            "tasks": await self._consumers(task_queue(FACTORS)),
            # Each look keeps that queue for 5 s more, where else it would go with its last worker:
            # right only where, as here, a site without its workers ends.
            "wsgi": await self._consumers(queue_of("/app")),
        }
        return as_json(
            request,
            {
                "instance": self.caller.id[:6],
                "requests": self.requests,
                "link": {"state": self.amqp_state, "why": self.amqp_state_description},
                "workers": workers,
                "messages": {"published": self.published, "received": self.received},
                "polls": len(self.polls),
                "calls": len(self.caller),
            },
        )

    async def _consumers(self, queue: str) -> int:
        try:
            _, consumers = await self.amqp_link.count(queue)
        except (ChannelClosed, NotReady):  # there is no such queue; or no broker
            return 0
        return consumers

    @app.route("/subscribe")
    def subscribe(self, request: Request) -> Deferred[bytes]:
        """The next line that anybody publishes; 204 where there is none in 25 s."""
        return self.polls.wait(request, NEWS, timeout=25.0)

    @app.route("/publish", methods=["POST"])
    async def publish(self, request: Request) -> bytes:
        """A line for all pages of all instances."""
        # Pages of other sites can't send this type, unless they are allowed to (CORS).
        if (request.getHeader("Content-Type") or "").partition(";")[0] != "application/json":
            return as_json(request, {"error": "Content-Type: application/json, please."}, 415)
        line = msgspec.json.decode(request.content.read(), type=Line)
        body = {"name": line.name, "text": line.text, "by": self.caller.id[:6]}
        properties = {"content_type": "application/json", "delivery_mode": 1}
        await self.amqp_publish(PUBSUB, NEWS, msgspec.json.encode(body), properties)
        self.published += 1  # the broker has it
        return as_json(request, body)

    @app.route("/parallel")
    async def parallel(self, request: Request) -> bytes:
        """The prime factors of numbers, ``?numbers=12,97``, found by workers at the same time.

        In the order of the numbers; where one fails, its error is in the place of its result. When
        the client leaves, Klein cancels this, and so the calls: the workers stop.
        """
        texts = request.args.get(b"numbers", [b""])[0].decode("latin-1").split(",")
        try:
            numbers = msgspec.convert(texts, Numbers, strict=False)
        except msgspec.ValidationError:
            return as_json(request, {"error": UNREADABLE}, 400)
        calls = (self.caller.call(FACTORS, number, timeout=SECONDS) for number in numbers)
        results = await gather(*calls)
        rows = [row(*each) for each in zip(numbers, results, strict=True)]
        return as_json(request, rows)

    @app.route("/app/", branch=True)
    def wsgi(self, request: Request) -> IResource:
        """The Flask application, in processes of ``twbridge wsgi-worker``."""
        return self.flask

    @app.handle_errors(msgspec.MsgspecError)
    def malformed(self, request: Request, failure: Failure) -> bytes:
        """What can't be read is the client's mistake."""
        return as_json(request, {"error": str(failure.value)}, 400)

    @app.handle_errors(LinkError)
    def unavailable(self, request: Request, failure: Failure) -> bytes:
        """The broker is away, or has refused."""
        return as_json(request, {"error": failure.value.public}, 503)


class Visitors(Site):
    """Lets pages of other sites do nothing, and counts requests in the place of an access log."""

    def __init__(self, frontend: Frontend) -> None:
        super().__init__(frontend.app.resource())
        self.frontend = frontend

    def getResourceFor(self, request: Request) -> IResource:
        """Who answers."""
        if is_foreign(request):
            return forbidden(message="Pages of other sites may not use this.")
        return super().getResourceFor(request)

    def log(self, request: Request) -> None:
        """A request has ended."""
        self.frontend.requests += 1


def is_foreign(request: Request) -> bool:
    """Whether a page of another site may have asked, for more than our page (a link to it)."""
    if request.getRequestHostname() not in HOSTS:
        return True
    site = request.getHeader("Sec-Fetch-Site")  # of a browser, that no page can change
    return request.path != b"/" and site not in (None, "none", "same-origin")


def row(number: int, result: Any) -> dict[str, Any]:
    """One line of the answer; ``public`` is what everybody may read of an error."""
    if isinstance(result, TwbridgeError):
        return {"number": number, "error": result.code, "message": result.public}
    return {"number": number, **result}


def as_json(request: Request, value: Any, status: int = 200) -> bytes:
    """The body of an answer."""
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    request.setHeader("Cache-Control", "no-store")
    return msgspec.json.encode(value) + b"\n"
