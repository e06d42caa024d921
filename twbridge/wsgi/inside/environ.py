"""What the application is told of a request (PEP 3333, and CGI before it: RFC 3875)."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from twbridge import __version__
from twbridge.wsgi.inside.files import FileWrapper
from twbridge.wsgi.inside.input import Input
from twbridge.wsgi.messages import Request

__all__ = ["common", "environ_of"]

#: Names that come from clients, so not any number of them.
_NAMES = 1024


def common(threads: int) -> dict[str, Any]:
    """What is the same for all requests of a child."""
    return {
        "SERVER_SOFTWARE": f"twbridge/{__version__}",
        "wsgi.version": (1, 0),
        "wsgi.multithread": threads > 1,
        # There may be other workers, and a child that is replaced may still run.
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        # The input ends with the body, whether its length is known or not.
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }


def environ_of(request: Request, body: Input, common: dict[str, Any]) -> dict[str, Any]:
    """The environment of a request.

    ``REQUEST_URI`` and ``RAW_URI`` are the target as the client sent it. Fields of one name are
    joined: by semicolons for cookies (RFC 9113 section 8.2.3), else by commas.
    """
    environ = common.copy()
    script, path, query = request.mount, request.path, request.query
    uri = f"{script}{path}?{query}" if query else script + path
    if not script and not path:
        path = "/"
    server, client = request.server, request.client
    environ["REQUEST_METHOD"] = request.method
    environ["SCRIPT_NAME"] = unquote(script, "latin-1") if "%" in script else script
    environ["PATH_INFO"] = unquote(path, "latin-1") if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["REQUEST_URI"] = environ["RAW_URI"] = uri
    environ["SERVER_PROTOCOL"] = request.version
    environ["SERVER_NAME"] = server[0]
    environ["SERVER_PORT"] = str(server[1])
    environ["REMOTE_ADDR"] = client[0]
    if client[1]:
        environ["REMOTE_PORT"] = str(client[1])
    environ["wsgi.url_scheme"] = request.scheme
    environ["wsgi.input"] = body
    environ["wsgi.errors"] = sys.stderr
    for name, value in request.fields:
        key = _key(name)
        if key not in environ:
            environ[key] = value
        elif key == "HTTP_COOKIE":
            environ[key] += "; " + value
        elif key[:5] == "HTTP_":
            environ[key] += ", " + value
    environ.pop("", None)
    _set_length(environ, request)
    return environ


def _set_length(environ: dict[str, Any], request: Request) -> None:
    """Say the length of the body where it is known, and it has one or says that it has none."""
    length = request.length
    if length is None and not request.more:
        length = len(request.body)
    said = environ.pop("CONTENT_LENGTH", None)
    if length or (said is not None and length is not None):
        environ["CONTENT_LENGTH"] = str(length)


@lru_cache(maxsize=_NAMES)
def _key(name: str) -> str:
    """The variable for a field; empty for one that is not for applications.

    ``Proxy`` would be taken for a setting, and a name with an underscore for another one.
    """
    if name in ("content-type", "content-length"):
        return name.upper().replace("-", "_")
    if name == "proxy" or "_" in name:
        return ""
    return "HTTP_" + name.upper().replace("-", "_")
