"""The files of ``static/``, read once, each with the type and the policy it is served under."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}

# Nothing is loaded, run, framed or sent but by and to this host. 'self' takes in ws: and wss:
# (CSP level 3, section 6.7.2.8).
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


@dataclass(frozen=True)
class File:
    """One file, ready to be served.

    Attributes:
        content: its bytes.
        content_type: for the header of that name.
        etag: changes when the content does; without the quotes.
    """

    content: bytes
    content_type: str
    etag: str


def load(*, socket: str, subscribe: str, publish: str, stream: str = "") -> dict[str, File]:
    """Reads every file of ``static/`` that has a known type, by name.

    Args:
        socket: where the chat page's WebSocket is, relative to the page.
        subscribe: the destination that its lines come from.
        publish: the one that they are sent to.
        stream: the one that keeps them (``/stream/<name>``), read instead of ``subscribe``; empty
            where none does.
    """
    given = {"socket": socket, "subscribe": subscribe, "publish": publish, "stream": stream}
    values = {name: escape(value) for name, value in given.items()}
    found: dict[str, File] = {}
    for entry in files(__package__).joinpath("static").iterdir():
        content_type = _TYPES.get(entry.name.rpartition(".")[2])
        if content_type and entry.is_file():
            content = entry.read_bytes()
            if entry.name.endswith(".html"):
                content = Template(content.decode()).substitute(values).encode()
            etag = hashlib.sha256(content).hexdigest()[:16]
            found[entry.name] = File(content, content_type, etag)
    return found
