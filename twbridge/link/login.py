"""Asking a broker whether somebody is its user: a connection that is opened and closed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge.errors import ConnectionClosed, NotReady
from twbridge.link.connection import Connection, ConnectionFactory
from twbridge.link.endpoints import endpoint
from twbridge.link.uri import Parameters

__all__ = ["BrokerSource"]

_log = Logger()

LATE = "the broker did not answer the login in time"
NAME = "twbridge login"
"""How the broker's management shows the connections."""
#: What is refused with 530 and not for who the user is: a limit that is reached, a virtual host
#: that is gone. The words are RabbitMQ's.
_NOT_THE_USER = re.compile(r"limit \(\d+\) is reached|vhost .* not found", re.DOTALL)

_Said = tuple[Connection, bool]


class BrokerSource:
    """The users of a broker that may open the virtual host of the settings.

    Args:
        reactor: the clock, and what ``connect`` needs.
        parameters: the broker's hosts, virtual host and TLS; their user is not used.
        connect: makes the endpoint of (parameters, host, port); TCP or TLS by default.
    """

    epoch = 0

    def __init__(
        self,
        reactor: Any,
        parameters: Parameters,
        connect: Callable[[Parameters, str, int], IStreamClientEndpoint] | None = None,
    ) -> None:
        # With EXTERNAL the certificate of the bridge would speak for every client.
        mechanism = "AMQPLAIN" if parameters.auth_mechanism == "AMQPLAIN" else "PLAIN"
        self._parameters = replace(parameters, heartbeat=0, auth_mechanism=mechanism)
        self._clock = reactor
        self._connect = connect or (lambda *host: endpoint(reactor, *host))
        self._turn = 0

    def ask(self, user: str, password: str, seconds: float) -> Deferred[bool]:
        """Whether the broker lets the user in with the password.

        Fails with NotReady when no host said either within ``seconds``.
        """
        hosts = len(self._parameters.hosts)
        parameters = replace(
            self._parameters,
            username=user,
            password=password,
            connection_timeout=min(self._parameters.connection_timeout, seconds / hosts),
        )
        until = self._clock.seconds() + seconds
        trying = Deferred.fromCoroutine(self._any_host(parameters, until))
        trying.addTimeout(seconds, self._clock)
        # The close is no part of the answer's time, and has a deadline of its own.
        return trying.addCallbacks(_closed, _late)

    async def _any_host(self, parameters: Parameters, until: float) -> _Said:
        problem: Exception = NotReady(LATE)
        for _ in parameters.hosts:
            if self._clock.seconds() >= until:
                break  # an endpoint may make another error of a cancellation
            host, port = parameters.hosts[self._turn % len(parameters.hosts)]
            try:
                return await self._one_host(parameters, host, port)
            except CancelledError:
                raise
            except Exception as error:
                problem = error
                self._turn += 1  # the next login begins where this one goes on
        raise NotReady(f"the broker could not be asked: {problem}")

    async def _one_host(self, parameters: Parameters, host: str, port: int) -> _Said:
        """The connection, and whether the broker let the user in."""
        factory = ConnectionFactory(self._clock, parameters, NAME)
        connection: Any = await self._connect(parameters, host, port).connect(factory)
        try:
            await connection.login()
        except ConnectionClosed as error:
            if _is_refusal(error):
                _log.debug(
                    "the broker refused the login of {user!r}: {words!r}",
                    user=parameters.username,
                    words=str(error),
                )
                return connection, False
            raise
        except Exception as error:
            end = ConnectionClosed(0, str(error))
            connection.fail(end, abort=isinstance(error, CancelledError))
            raise
        return connection, True


def _closed(said: _Said) -> Deferred[bool]:
    """The answer, once the connection is gone: a login is one at a time for the broker too."""
    connection, let_in = said
    return connection.shutdown().addCallback(lambda _: let_in)


def _is_refusal(error: ConnectionClosed) -> bool:
    if error.reply_code == 403:
        return True
    return error.reply_code == 530 and _NOT_THE_USER.search(error.reply_text) is None


def _late(failure: Failure) -> Failure:
    late = failure.check(TimeoutError, CancelledError)
    return Failure(NotReady(LATE)) if late else failure
