"""The site of a listener: one request a connection, one set of headers, no version anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, resource, server
from twisted.web.iweb import IRequest

from twbridge.web.files import CONTENT_SECURITY_POLICY, File, load

_log = Logger()

_LIBRARY: Final = "twbridge.js"
_HEADERS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)


class Route(Protocol):
    """What the chat page needs of a route."""

    @property
    def path(self) -> str:
        """Of its WebSockets."""

    @property
    def publish(self) -> str:
        """The destination of its lines."""

    @property
    def subscribe(self) -> str:
        """Where they come from."""


Answer = Callable[[], tuple[int, str]]
"""A status and one line of text, asked for anew for each request."""


class _Leaf(resource.Resource):
    """Something that is read and has nothing below it."""

    isLeaf = True
    methods: tuple[bytes, ...] = (b"GET", b"HEAD")

    def render(self, request: IRequest) -> bytes:
        body = self._answer_to(request)
        if request.method == b"HEAD":
            request.setHeader(b"content-length", b"%d" % len(body))
            return b""
        return body

    def _answer_to(self, request: IRequest) -> bytes:
        if request.postpath:
            return _Nothing().get(request)
        if request.method not in self.methods:
            request.setHeader(b"allow", b", ".join(self.methods))
            return _Line(405, "This can only be read.").get(request)
        return self.get(request)

    def get(self, request: IRequest) -> bytes:
        """The body of the answer."""
        raise NotImplementedError


class _Line(_Leaf):
    """One line of plain text, always the same."""

    def __init__(self, status: int, line: str, headers: Iterable[tuple[bytes, bytes]] = ()):
        super().__init__()  # type: ignore[no-untyped-call]
        self._status = status
        self._body = f"{line}\n".encode()
        self._headers = tuple(headers)

    def get(self, request: IRequest) -> bytes:
        request.setResponseCode(self._status, HTTPStatus(self._status).phrase.encode())
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        for name, value in self._headers:
            request.setHeader(name, value)
        return self._body


class _Nothing(_Line):
    """What is not there, for whatever method."""

    def __init__(self) -> None:
        super().__init__(404, "There is nothing here.")

    def _answer_to(self, request: IRequest) -> bytes:
        return self.get(request)


class _Live(_Leaf):
    """One line of plain text, as of now; never cached."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._answer = answer

    def get(self, request: IRequest) -> bytes:
        request.setHeader(b"cache-control", b"no-store")
        return _Line(*self._answer()).get(request)


class _Static(_Leaf):
    """A file; answered with 304 where the browser has it already."""

    def __init__(self, file: File) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._file = file

    def get(self, request: IRequest) -> bytes:
        request.setHeader(b"content-type", self._file.content_type.encode())
        if request.setETag(f'"{self._file.etag}"'.encode()) is http.CACHED:
            return b""
        return self._file.content


class _Folder(resource.Resource):
    """Resources by name; everything else is 404 in plain text."""

    def __init__(self, children: dict[str, resource.Resource]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for name, child in children.items():
            self.putChild(name.encode(), child)

    def getChild(self, path: bytes, request: IRequest) -> resource.Resource:
        leaf = _Nothing()
        request.postpath = []
        return leaf

    def render(self, request: IRequest) -> bytes:
        return _Nothing().get(request)


class _Request(server.Request):
    """A request whose answer says nothing of what made it."""

    def setHeader(self, name: bytes | str, value: bytes | str) -> None:
        if name not in (b"Server", b"server"):
            super().setHeader(name, value)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        for name, value in _HEADERS:
            self.setHeader(name, value)
        super().process()  # type: ignore[no-untyped-call]

    def processingFailed(self, reason: Failure) -> Failure:
        _log.failure("A request failed", failure=reason)
        self.setResponseCode(500)
        self.setHeader(b"content-type", b"text/plain; charset=utf-8")
        self.write(b"Something went wrong inside the bridge.\n")  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]
        return reason


class _Channel(http.HTTPChannel):
    """A connection that ends after one request: only its head went through the door."""

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False


class WebSite(server.Site):
    """Serves the pages.

    Args:
        readiness: ready or not, and why; see `Readiness.answer`.
        chat: the route whose path and destinations the chat page uses; None: there is no page.
        stream: the destination of the stream that keeps the chat's messages; empty: none does.
        websocket_paths: where a plain request is told to upgrade.
        clock: for the time-out of idle connections.
        idle_seconds: how long a connection may send nothing of its request.
    """

    requestFactory = _Request
    protocol = _Channel  # type: ignore[assignment]

    def __init__(
        self,
        readiness: Callable[[], tuple[bool, str]],
        *,
        chat: Route | None,
        stream: str = "",
        websocket_paths: Iterable[str] = ("/ws",),
        clock: IReactorTime,
        idle_seconds: float = 15.0,
    ) -> None:
        statics = _statics(chat, stream)
        children: dict[str, resource.Resource] = {
            "static": _Folder({name: _Static(file) for name, file in statics.items()}),
            "healthz": _Live(lambda: (200, "alive")),
            "readyz": _Live(lambda: _status(*readiness())),
        }
        leaves = {f"/{name}" for name in children if name != "static"}
        if chat is not None:
            children[""] = _Static(statics["index.html"])
        super().__init__(  # type: ignore[no-untyped-call]
            _Folder(children), requestFactory=_Request, reactor=clock, timeout=idle_seconds
        )
        self._paths = frozenset(websocket_paths)
        self._own = self._paths | leaves | {f"/static/{name}" for name in statics}
        self._upgrade = _Line(426, "This is a WebSocket.", [(b"upgrade", b"websocket")])

    def knows(self, path: str) -> bool:
        """Whether a path, as sent, is one that nobody else may have. ``/`` is not."""
        return path in self._own

    def getResourceFor(self, request: server.Request) -> resource.Resource:
        if request.path.decode("latin-1") in self._paths:
            request.postpath = []
            return self._upgrade
        found: resource.Resource = super().getResourceFor(request)  # type: ignore[no-untyped-call]
        return found

    def log(self, request: http.Request) -> None:
        """Access goes to the log at its lowest level: health checks come every second."""
        _log.debug(
            "{method} {path} {status}",
            method=request.method.decode("latin-1"),
            path=request.path.decode("latin-1"),
            status=request.code,
        )


def _statics(chat: Route | None, stream: str) -> dict[str, File]:
    """The files below ``/static/``: without the chat page the library is all of them."""
    if chat is None:
        return {_LIBRARY: load(socket="", subscribe="", publish="")[_LIBRARY]}
    # Relative, for proxies that serve the bridge under a path of their own.
    socket, subscribe, publish = f".{chat.path}", chat.subscribe, chat.publish
    return load(socket=socket, subscribe=subscribe, publish=publish, stream=stream)


def _status(ready: bool, why: str) -> tuple[int, str]:
    return (200 if ready else 503), why
