"""One client for the length of a command, and how a command ends."""

from __future__ import annotations

import contextlib
import signal
from typing import Any, Final, NoReturn, Protocol

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure

from twbridge.client import Client, NotConnected
from twbridge.client.addresses import parse_address
from twbridge.client.errors import sentence
from twbridge.errors import LinkError, Nacked, SettingsError, TwbridgeError, Unroutable

REFUSED: Final = 1
USAGE: Final = 2
AWAY: Final = 3
#: Statuses of a handshake that are refusals, but pass.
_PASSING: Final = (408, 429)


class End(Exception):
    """The command ends.

    Args:
        code: the exit code.
        line: what to say on stderr.
    """

    def __init__(self, code: int, line: str = "") -> None:
        super().__init__(line)
        self.code = code
        self.line = line


def end_of(error: TwbridgeError) -> End:
    """How an error ends a command."""
    if isinstance(error, NotConnected):
        return End(REFUSED if is_final(error) else AWAY, str(error))
    away = isinstance(error, LinkError) and not isinstance(error, Nacked | Unroutable)
    return End(AWAY if away else REFUSED, f"{error.code}: {sentence(error)}")


def is_final(reason: NotConnected) -> bool:
    """Whether the bridge does not want this client, now or later."""
    return reason.retry_in is None or (400 <= reason.status < 500 and reason.status not in _PASSING)


def say(line: str) -> None:
    """A line on stderr."""
    with contextlib.suppress(OSError):
        click.echo(f"twbridge: {line}", err=True)


class Command(Protocol):
    """What a command does once there is a reactor."""

    async def talk(self, reactor: Any) -> None:
        """Do it. May raise End and TwbridgeError."""

    def stop(self) -> Deferred[None]:
        """Close the connection; fires when it is gone."""


def run(command: Command) -> NoReturn:
    """Run the reactor until a command is done, and exit."""
    stopped: list[int] = []

    async def guarded(reactor: Any) -> None:
        reactor.callWhenRunning(_heed_signals, reactor, stopped)
        reactor.addSystemEventTrigger("before", "shutdown", command.stop)
        try:
            await command.talk(reactor)
        except SettingsError as error:
            say(str(error))
            raise SystemExit(USAGE) from None
        except TwbridgeError as error:
            _finish(end_of(error), bool(stopped))
        except End as end:
            _finish(end, bool(stopped))

    try:
        task.react(guarded)
    except SystemExit as exit_:
        if stopped:
            raise SystemExit(128 + stopped[0]) from None
        raise exit_ from None


def _heed_signals(reactor: Any, stopped: list[int]) -> None:
    """Stop for SIGINT and SIGTERM, and note which it was, even while the reactor stops already.

    Twisted's own handlers would stop it twice then, and whatever was noted be lost.
    """

    def stop() -> None:
        with contextlib.suppress(ReactorNotRunning):
            reactor.stop()

    def heed(number: int, _frame: object) -> None:
        stopped.append(number)
        reactor.callFromThread(stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        # What runs in the background ignores SIGINT.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, heed)


def _finish(end: End, stopped: bool) -> None:
    if end.line and not stopped:
        say(end.line)
    raise SystemExit(end.code)


def tls_for(url: str, cacert: str | None) -> Any:
    """How to verify a bridge by the certificates of a file; None: as ever.

    Raises:
        SettingsError: there are none in it.
    """
    if cacert is None:
        return None
    try:
        with open(cacert, "rb") as file:
            found = x509.load_pem_x509_certificates(file.read())
    except (OSError, ValueError):
        raise SettingsError(f"There is no PEM certificate in {cacert}") from None
    roots = [Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in found]
    return optionsForClientTLS(parse_address(url).host, trustRootFromCertificates(roots))


class Talk:
    """A client that tells its troubles on stderr."""

    def __init__(self, *, url: str, cacert: str | None, compress: bool) -> None:
        self._url = url
        self._cacert = cacert
        self._compress = compress
        self._client: Client | None = None
        self._last: NotConnected | None = None
        self._was_open = False
        #: What the command waits for; an error ends it.
        self.done: Deferred[None] = Deferred()

    def open(self, reactor: Any, client: str | None = None) -> Client:
        """The client."""
        self._client = Client(
            reactor,
            self._url,
            client=client,
            tls=tls_for(self._url, self._cacert),
            compress=self._compress,
            on_state=self._state,
            on_away=self._away,
            on_link=self._link,
        )
        return self._client

    def stop(self) -> Deferred[None]:
        """Close it, and end the command."""
        self.end()
        if self._client is not None:
            return self._client.close()
        nothing: Deferred[None] = Deferred()
        nothing.callback(None)
        return nothing

    def end(self, error: BaseException | None = None) -> None:
        """The command is done, or has failed; the first word counts."""
        if not self.done.called:
            if error is None:
                self.done.callback(None)
            else:
                self.done.errback(Failure(error))

    def failed(self, failure: Failure) -> None:
        """What goes on beside it has failed, and with it the command."""
        self.end(failure.value)

    def no_connection(self, seconds: float) -> End:
        """The end for want of a connection."""
        if self._last is None:
            return End(AWAY, f"There was no connection to {self._url} in {seconds:g} s.")
        return End(AWAY, f"There was no connection to {self._url} in {seconds:g} s: {self._last}")

    def _state(self, state: str) -> None:
        if state == "open":
            if self._last is not None:
                say("Connected again." if self._was_open else "Connected.")
            self._was_open, self._last = True, None

    def _away(self, reason: NotConnected) -> None:
        if is_final(reason):
            self.end(reason)
        elif self._last is None or str(self._last) != str(reason):
            say(f"{reason} Trying again.")
        self._last = reason

    def _link(self, up: bool) -> None:
        say("The bridge has its broker again." if up else "The bridge has lost its broker.")
