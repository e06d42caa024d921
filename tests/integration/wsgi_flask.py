"""A Flask application as people write them: nothing in it knows where it runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

from flask import (
    Flask,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    request,
    session,
    stream_with_context,
    url_for,
)
from werkzeug.wrappers import Response as Base

app = Flask(__name__)
app.secret_key = "not a secret"


@app.get("/")
def index() -> str:
    return "Hello from Flask"


@app.get("/users/<name>")
def user(name: str) -> str:
    return f"{request.args.get('greeting', 'Hello')}, {name}!"


@app.get("/old")
def old() -> Base:
    return redirect(url_for("user", name="Zoë"))


@app.get("/outside")
def outside() -> str:
    return url_for("user", name="x", _external=True)


@app.route("/cookie")
def cookie() -> Response:
    answer = make_response(request.cookies.get("seen", "never"))
    answer.set_cookie("seen", "once", path=request.script_root or "/")
    answer.set_cookie("other", "two")
    return answer


@app.post("/form")
def form() -> Response:
    return jsonify({name: request.form.getlist(name) for name in sorted(request.form)})


@app.post("/files")
def files() -> Response:
    """An upload, with a field beside it."""
    found = request.files["file"]
    data = found.read()
    return jsonify(
        name=found.filename,
        type=found.content_type,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        title=request.form["title"],
    )


@app.route("/visits")
def visits() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.put("/json")
def json() -> tuple[Response, int, dict[str, str]]:
    return jsonify(got=request.get_json(), who=request.remote_addr), 201, {"X-Kind": "test"}


@app.get("/error")
def error() -> str:
    raise RuntimeError("a secret of the inside")


@app.get("/teapot")
def teapot() -> str:
    abort(418)


@app.get("/lines")
def lines() -> Response:
    def given() -> Iterator[str]:
        for number in range(int(request.args["count"])):
            yield f"line {number}\n"

    return Response(stream_with_context(given()), mimetype="text/plain")


@app.get("/sleep")
def sleep() -> str:
    time.sleep(float(request.args["seconds"]))
    return "slept"


@app.errorhandler(404)
def missing(_error: Exception) -> tuple[Response, int]:
    return jsonify(error="not found", path=request.path), 404
