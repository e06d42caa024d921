"""``python examples/frontend``: the site, its workers, and a broker for all of them."""

from __future__ import annotations

import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
from application import Frontend, Visitors
from children import Child
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.task import react
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure

from twbridge.amqp import Link, LinkOptions, parse
from twbridge.broker import EmbeddedBroker
from twbridge.errors import TwbridgeError
from twbridge.rpc import Caller
from twbridge.wsgi.gateway import Gateway
from twbridge.wsgi.ports import Mount
from twbridge.wsgi.resource import WSGIResource

HERE = Path(__file__).parent
WORKERS = (
    ("worker", str(HERE / "tasks.py"), "--drain", "2"),
    ("wsgi-worker", f"{HERE / 'flask_app.py'}:app", "--mount", "/app", "--drain", "2"),
)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, help="0: any that is free.")
@click.option("--amqp-url", metavar="URL", help="A broker in the place of the embedded one.")
def main(port: int, amqp_url: str | None) -> None:
    """Serve the front end at http://127.0.0.1:8080/ until SIGINT or SIGTERM.

    Exit codes: 0 after a signal, 1 when it can't begin or a worker has ended.
    """
    warnings = LogLevelFilterPredicate(LogLevel.warn)
    log = FilteringLogObserver(textFileLogObserver(sys.stderr), [warnings])
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)

    react(begin, (port, amqp_url))


def begin(reactor: Any, port: int, amqp_url: str | None) -> Deferred[None]:
    """Run it until a signal, or until a worker ends; what fails is one line on stderr.

    A second signal kills the workers.
    """
    reasons: list[str] = []

    def end(reason: str = "") -> None:
        if not reasons:
            reasons.append(reason)
            running.cancel()

    def signalled() -> None:
        if reasons:
            for each in workers:
                each.kill()
        end()

    def ended(failure: Failure) -> None:
        failure.trap(CancelledError, CannotListenError, TwbridgeError)
        reason = reasons[0] if reasons else str(failure.value)
        if failure.check(CannotListenError) and failure.value.port == port:
            reason += " Another one: --port 8081, or make frontend PORT=8081."
        if reason:
            raise SystemExit(f"frontend: {reason}")

    def heed_signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: reactor.callFromThread(signalled))

    workers = [Child(*each, on_end=end) for each in WORKERS]
    running = Deferred.fromCoroutine(run(reactor, port, amqp_url, workers))
    reactor.callWhenRunning(heed_signals)  # after the reactor has set its own
    return running.addErrback(ended)


async def run(reactor: Any, port: int, amqp_url: str | None, workers: list[Child]) -> None:
    """Serve until it is cancelled; what was begun last ends first."""
    async with AsyncExitStack() as ends:
        if amqp_url is None:
            broker = EmbeddedBroker(reactor)
            ends.push_async_callback(broker.stop)
            await broker.listen()
            amqp_url = broker.url
        link = Link(reactor, parse(amqp_url), options=LinkOptions(name="frontend"))
        ends.push_async_callback(link.stop)
        caller = Caller(link, reactor=reactor)
        ends.push_async_callback(caller.stop)
        ends.push_async_callback(lambda: gatherResults([each.stop() for each in workers]))
        gateway = Gateway(link, reactor)
        ends.push_async_callback(gateway.stop)
        frontend = Frontend(caller, WSGIResource(gateway, Mount("/app")))
        ends.push_async_callback(frontend.polls.stop)
        endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
        listener = await endpoint.listen(Visitors(frontend))
        ends.push_async_callback(maybeDeferred, listener.stopListening)

        link.start()
        await frontend.start()
        for each in workers:
            each.start(reactor, amqp_url)
        for each in workers:
            await each.serves
        print(f"The page is at http://127.0.0.1:{listener.getHost().port}/", flush=True)
        await Deferred()  # until it is cancelled


if __name__ == "__main__":
    main()
