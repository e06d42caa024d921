"""Who a client is, by user name and password: the ``[auth]`` section."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twbridge.auth.interfaces import Checker, Source
from twbridge.auth.logins import Logins
from twbridge.auth.sources import FileSource
from twbridge.errors import SettingsError
from twbridge.link.login import BrokerSource
from twbridge.link.uri import Parameters
from twbridge.settings import Settings

__all__ = ["Checker", "checker"]

GUEST = ("guest", "guest")
"""RabbitMQ has this user from the start, for clients on its own machine only. All that comes by
way of a bridge on that machine seems to be one of those."""


def checker(
    settings: Settings, reactor: Any, parameters: Parameters | None = None
) -> Logins | None:
    """The Checker that the settings ask for; None where nobody logs in.

    Args:
        reactor: the clock, its threads, and what endpoints need.
        parameters: the broker's; those of ``amqp.url`` by default. The embedded broker has none
            there: give the link's (``Link.parameters``).

    Raises:
        SettingsError: the file, or the URL, is missing or wrong. One line that names the key.
    """
    auth = settings.auth
    if auth.method == "none":
        return None
    parallel = auth.parallel
    source: Source
    local_only = None
    if auth.method == "file":
        if auth.file is None:
            raise SettingsError('auth.method = "file" needs auth.file, the file of users')

        def in_thread(function: Any, *args: Any) -> Any:
            return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)

        try:
            source = FileSource(auth.file, in_thread)
        except SettingsError as error:
            raise SettingsError(f"auth.file: {error}") from None
        # bcrypt takes a whole processor, and the reactor needs one.
        parallel = min(parallel, max(1, len(os.sched_getaffinity(0)) - 1))
    else:
        found = parameters or settings.amqp.parameters()
        if found is None:
            raise SettingsError('auth.method = "amqp" needs a broker to ask: amqp.url')
        source = BrokerSource(reactor, found)
        local_only = GUEST
    return Logins(
        reactor,
        source,
        remember=auth.remember,
        timeout=auth.timeout,
        parallel=parallel,
        waiting=auth.waiting,
        local_only=local_only,
    )
