"""Publishing from a web application of Twisted, ``twisted.web`` or Klein.

::

    class Orders(PublishingMixin):
        app = Klein()

        @app.route("/", methods=["POST"])
        async def create(self, request):
            await self.amqp_publish("orders", "created", request.content.read())
            return "taken"            # the broker has it

    orders = Orders()
    install(orders)                   # AMQP_URL says where the broker is

The settings come from the environment: ``docs/settings.md`` has their names and order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from twbridge.amqp import Link, LinkOptions
from twbridge.daemon import loading
from twbridge.errors import NotReady, SettingsError
from twbridge.link.uri import Parameters
from twbridge.settings import Amqp

ATTRIBUTE = "amqp"
"""Where ``install`` puts the link."""


def install(
    app: Any,
    link: Link | None = None,
    *,
    reactor: Any = None,
    environ: Mapping[str, str] | None = None,
) -> bool:
    """Give an application a link to the broker, as ``app.amqp``.

    Without a `link`, one is made from the environment; it connects when the reactor runs, and
    settles what is unconfirmed before the reactor stops.

    Args:
        app: what the resources know as themselves, as ``self.application`` or as ``self.app``;
            a class's Klein application serves all its instances.
        link: a link that its owner starts and stops.
        reactor: the running one if None.
        environ: ``os.environ`` if None.

    Returns:
        False if the application has one already; nothing is done then.

    Raises:
        SettingsError: there is no URL, or a setting is wrong; one line for each mistake.
    """
    # What Klein gives as ``resource.app`` lives no longer than this call.
    app = getattr(app, "_instance", None) or app
    if getattr(app, ATTRIBUTE, None) is not None:
        return False
    if link is None:
        link = _link_of_environment(reactor, os.environ if environ is None else environ)
    setattr(app, ATTRIBUTE, link)
    return True


def _link_of_environment(reactor: Any, environ: Mapping[str, str]) -> Link:
    amqp = loading.load(None, environ).settings.amqp
    parameters = amqp.parameters()
    if parameters is None:
        raise SettingsError("There is no broker: set AMQP_URL.")
    if reactor is None:
        from twbridge.service import global_reactor

        reactor = global_reactor()
    link = link_of(reactor, amqp, parameters)
    reactor.callWhenRunning(link.start)
    reactor.addSystemEventTrigger("before", "shutdown", link.stop)
    return link


def link_of(reactor: Any, amqp: Amqp, parameters: Parameters, name: str = "twbridge") -> Link:
    """A link with the ``[amqp]`` settings; `name` is how the broker's management shows it."""
    options = LinkOptions(
        timeout=amqp.timeout,
        reconnect_cap=amqp.reconnect_cap,
        connection_attempts=amqp.connection_attempts or 0,
        window=amqp.window,
        confirmations=amqp.confirmations,
        name=name,
    )
    return Link(reactor, parameters, options=options)


class PublishingMixin:
    """For resources whose application has a link: see ``install``."""

    def amqp_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any] | None = None,
        *,
        mandatory: bool = False,
        timeout: float | None = None,
    ) -> Deferred[None]:
        """Publish a message; fires on the broker's ack.

        While the link is down it waits, up to `timeout` seconds or ``AMQP_TIMEOUT``. Failures
        are those of ``Link.publish``; without an ``install`` it is NotReady.
        """
        application = getattr(self, "application", None)
        for owner in (
            self,
            application,
            getattr(self, "app", None),
            getattr(type(self), "app", None),
        ):
            link: Link | None = getattr(owner, ATTRIBUTE, None)
            if link is not None:
                return link.publish(
                    exchange, routing_key, body, properties, mandatory=mandatory, timeout=timeout
                )
        failed: Deferred[None] = Deferred()
        failed.errback(NotReady("twbridge.publishing.install(app) has not been called"))
        return failed
