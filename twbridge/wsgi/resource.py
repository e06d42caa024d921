"""A WSGI application behind queues as a resource of twisted.web, for Klein too.

::

    gateway = Gateway(link, reactor)

    site = Resource()                                     # twisted.web
    site.putChild(b"shop", WSGIResource(gateway, Mount("/shop")))

    @app.route("/shop/", branch=True)                     # Klein
    def shop(request):
        return WSGIResource(gateway, Mount("/shop"))

twisted.web has the whole body of a request before it asks for an answer: large ones are in a
temporary file, and go from there to the application piece by piece; but it reads the forms of a
POST into memory itself. Answers go to the client as they come, no faster than it takes them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from twbridge.wsgi.fields import forwarded
from twbridge.wsgi.gateway import Gateway
from twbridge.wsgi.messages import PIECE, WINDOW, Fields, Request
from twbridge.wsgi.ports import Forwarded, GatewayError, Mount

__all__ = ["WSGIResource"]

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:/?#@\[\]\s]+)(?::([0-9]{1,5}))?").fullmatch
# twisted.web lets controls pass in values: no application is to see them.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


class WSGIResource(Resource):
    """Everything below it is answered by the workers of a mount.

    The application's ``SCRIPT_NAME`` is where the resource is in the tree, which need not be the
    path of the mount. Headers that resources above it have set stay, unless the application says
    the same ones.

    Args:
        gateway: the way to the workers; its owner stops it.
        mount: whose workers, what a body may have, how long a client waits.
    """

    isLeaf = True

    def __init__(self, gateway: Gateway, mount: Mount) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gateway = gateway
        self._mount = mount

    def render(self, request: IRequest) -> int:
        """See IResource."""
        _Exchange(request, self._mount).begin(self._gateway)
        return NOT_DONE_YET


@implementer(IPushProducer)
class _Exchange:
    """One request, and its answer.

    Args:
        request: twisted.web's.
        mount: where it goes.
    """

    def __init__(self, request: Any, mount: Mount) -> None:
        self._request = request
        self._mount = mount
        self._forwarded: Forwarded | None = None
        #: Bytes of the request's body that were not read.
        self._left = 0
        #: Bytes of the answer that were written while the socket had no room.
        self._owed = 0
        self._paused = False
        self._started = False
        self._over = False

    def begin(self, gateway: Gateway) -> None:
        """Forward it."""
        content = self._request.content
        self._left = content.seek(0, 2)
        content.seek(0)
        # Nothing of it is twisted.web's to say.
        self._request.defaultContentType = None
        try:
            request = _translated(self._request, self._mount, self._left)
        except GatewayError as error:
            self.failed(error)
            return
        self._request.notifyFinish().addErrback(self._gone)
        self._forwarded = gateway.forward(request, self._mount, self)
        self.read_on()

    # -- for the gateway ------------------------------------------------------------------------

    def read_on(self) -> None:
        """See ``Answering``."""
        if self._forwarded is not None and not self._over:
            data = self._request.content.read(PIECE)
            self._left -= len(data)
            self._forwarded.upload(data, self._left > 0)

    def start(self, status: int, reason: str, fields: Fields, body: bytes, more: bool) -> None:
        """See ``Answering``."""
        request = self._request
        self._started = True
        request.setResponseCode(status, reason.encode("latin-1"))
        _set(request, fields)
        if more:
            request.registerProducer(self, True)
        self.part(body, more)

    def part(self, data: bytes, more: bool) -> None:
        """See ``Answering``."""
        request = self._request
        request.write(data)
        if not more:
            self._finish()
        elif self._paused:
            self._owed += len(data)
        else:
            self._take(len(data))

    def failed(self, error: GatewayError) -> None:
        """See ``Answering``."""
        request = self._request
        if self._started:
            self._cut()
            return
        body = f"{error.sentence}\n".encode()
        request.setResponseCode(error.status)
        _set(
            request,
            [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                ("Content-Length", str(len(body))),
            ],
        )
        request.write(body)
        self._finish()

    def _finish(self) -> None:
        self._over = True
        if self._request.producer is not None:
            self._request.unregisterProducer()
        self._request.finish()

    def _cut(self) -> None:
        """End the connection, so that the client takes half an answer for no whole one."""
        self._over = True
        request = self._request
        channel = request.channel
        if request.producer is not None:
            request.unregisterProducer()
        framed = request.chunked or request.responseHeaders.hasHeader(b"content-length")
        if framed and not self._paused:
            channel.loseConnection()
        else:
            # Its end would be the answer's; or it would never come. HTTP/2 has streams.
            stream = channel if hasattr(channel, "abortConnection") else channel.transport
            stream.abortConnection()

    # -- for twisted.web ------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The socket has no room."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The socket has room again."""
        self._paused = False
        owed, self._owed = self._owed, 0
        self._take(owed)

    def stopProducing(self) -> None:
        """The connection is lost; `_gone` hears of it, too."""

    def _take(self, size: int) -> None:
        if size and self._forwarded is not None and not self._over:
            self._forwarded.drained(size)

    def _gone(self, failure: Failure) -> None:
        if not self._over:
            self._over = True
            if self._forwarded is not None:
                self._forwarded.gone()


def _translated(request: Any, mount: Mount, length: int) -> Request:
    """The request as it goes to a worker.

    Raises:
        GatewayError: 413 or 400.
    """
    if length > mount.body:
        raise GatewayError(413, f"A request's body may have {mount.body} bytes here.")
    fields = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]
    if any(_CONTROLS(value) for _, value in fields):
        raise GatewayError(400, "The request's head has a byte that HTTP does not allow there.")
    target, _, query = request.uri.decode("latin-1").partition("?")
    script, path = _split(target, len(request.prepath))
    scheme = "https" if request.isSecure() else "http"
    return Request(
        method=request.method.decode("latin-1"),
        mount=script,
        path=path,
        query=query,
        version=request.clientproto.decode("latin-1"),
        scheme=scheme,
        server=_server(request, scheme),
        client=_peer(request.getClientAddress()),
        fields=forwarded(fields),
        length=length,
        body=b"",
        more=True,
        window=WINDOW,
        timeout=mount.timeout,
    )


def _split(target: str, count: int) -> tuple[str, str]:
    """Where the resource is, and the rest of the path; both as they were sent."""
    segments = target[1:].split("/")
    script = "".join(f"/{each}" for each in segments[:count])
    path = "".join(f"/{each}" for each in segments[count:])
    if script.endswith("/"):
        script, path = script[:-1], "/" + path.lstrip("/")
    return script, path


def _server(request: Any, scheme: str) -> tuple[str, int]:
    """The name and the port that the client calls."""
    match = _HOST((request.getHeader(b"host") or b"").decode("latin-1"))
    if match is not None:
        return match[1], int(match[2] or _PORTS[scheme])
    return _peer(request.getHost())


def _peer(address: Any) -> tuple[str, int]:
    """Name and port of an address; nothing where it has none (UNIX)."""
    return getattr(address, "host", None) or "", getattr(address, "port", None) or 0


def _set(request: Any, fields: Fields) -> None:
    """Say these fields, instead of those of their names that were set before."""
    said = set()
    for name, value in fields:
        small = name.lower()
        if small == "set-cookie":
            # Those of sessions are there, and would displace all others.
            request.cookies.append(value.encode("latin-1"))
            continue
        if small not in said:
            said.add(small)
            request.responseHeaders.removeHeader(name.encode("latin-1"))
        request.responseHeaders.addRawHeader(name.encode("latin-1"), value.encode("latin-1"))
