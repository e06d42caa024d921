"""An application for any WSGI server: it knows nothing of queues, nor of where it is mounted.

``flask --app flask_app run`` serves it too.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, render_template_string, request

app = Flask(__name__)

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>A Flask application</title>
<h1>A Flask application</h1>
<p>Process {{ process }} made this page, for {{ request.remote_addr }}.</p>
<ul>
  <li><a href="{{ url_for('hello', name='Ada') }}">{{ url_for('hello', name='Ada') }}</a>
  <li><a href="{{ url_for('count', last=5) }}">{{ url_for('count', last=5) }}</a>, as it is counted
</ul>
<form method="post" action="{{ url_for('upload') }}" enctype="multipart/form-data">
  <label>A file <input name="file" type="file" required></label> <button>Upload</button>
</form>
"""


@app.get("/")
def index() -> str:
    """A page with links to the others."""
    return render_template_string(PAGE, process=os.getpid())


@app.get("/hello/<name>")
def hello(name: str) -> dict[str, Any]:
    """Who is greeted, and by which process."""
    return {"hello": name, "process": os.getpid()}


@app.post("/upload")
def upload() -> dict[str, Any]:
    """How long the body is, or the file of a form, and its SHA-256."""
    stream = request.files["file"].stream if "file" in request.files else request.stream
    size, digest = 0, hashlib.sha256()
    while piece := stream.read(65_536):
        size += len(piece)
        digest.update(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


@app.get("/count/<int:last>")
def count(last: int) -> Response:
    """A line every fifth of a second: each is sent when it is there."""

    def lines() -> Iterator[str]:
        for number in range(1, last + 1):
            yield f"{number}\n"
            time.sleep(0.2)

    return Response(lines(), mimetype="text/plain")
