"""The views."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from django.http import JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render


def index(request: Any) -> Any:
    """A page with a form."""
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    name = request.session.get("name")
    return render(request, "index.html", {"name": name, "visits": visits})


def greet(request: Any) -> Any:
    """What the form sends."""
    request.session["name"] = request.POST["name"]
    return redirect("index")


def upload(request: Any) -> Any:
    """A file, larger than Django keeps in memory."""
    found, digest = request.FILES["file"], hashlib.sha256()
    for chunk in found.chunks():
        digest.update(chunk)
    kind = type(found).__name__
    return JsonResponse(
        {"name": found.name, "size": found.size, "sha256": digest.hexdigest(), "kind": kind}
    )


def lines(request: Any) -> Any:
    """An answer that is made while it is sent."""

    def given() -> Iterator[str]:
        for number in range(int(request.GET["count"])):
            yield f"line {number}\n"

    return StreamingHttpResponse(given(), content_type="text/plain")


def error(request: Any) -> Any:
    """Fails."""
    raise RuntimeError("a secret of the inside")
