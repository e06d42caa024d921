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

What is published while a request is served has the request's id as its correlation id, see
``correlation.py``. The settings come from the environment. ``docs/publishing.md`` has it all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.web.resource import IResource

from twbridge import correlation
from twbridge.amqp import Link, LinkOptions
from twbridge.correlation import request_id
from twbridge.daemon import loading
from twbridge.errors import NotReady, SettingsError
from twbridge.link.uri import Parameters
from twbridge.settings import Amqp
from twbridge.wire import Content

__all__ = ["PublishingMixin", "install", "link_of", "request_id"]

ATTRIBUTE = "amqp"
"""Where ``install`` puts the link."""
_MISSING = "twbridge.publishing.install(app) has not been called"


def install(
    app: Any,
    link: Link | None = None,
    *,
    reactor: Any = None,
    environ: Mapping[str, str] | None = None,
    on_ready: Callable[[], object] | None = None,
    on_unavailable: Callable[[Exception], object] | None = None,
    on_return: Callable[[Content], object] | None = None,
    on_state: Callable[[str], object] | None = None,
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
        on_ready: called when the link becomes usable, each time.
        on_unavailable: called once with the reason when it stops being usable.
        on_return: called with each message that the broker returned.
        on_state: called with each new state.

    Returns:
        False if the application has one already; nothing is done then, and nothing called.

    Raises:
        SettingsError: there is no URL, or a setting is wrong; one line for each mistake.
    """
    # What Klein gives as ``resource.app`` lives no longer than this call.
    app = getattr(app, "_instance", None) or app
    if getattr(app, ATTRIBUTE, None) is not None:
        return False
    if link is None:
        link = _link_of_environment(reactor, os.environ if environ is None else environ)
    if on_ready is not None:
        link.on_ready(on_ready)
    if on_unavailable is not None:
        link.on_unavailable(on_unavailable)
    if on_return is not None:
        link.on_return(on_return)
    if on_state is not None:
        link.on_state(on_state)
    setattr(app, ATTRIBUTE, link)
    for each in (app, getattr(app, "app", None), getattr(type(app), "app", None)):
        correlation.correlate(each)
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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let what the class renders, and the routes of its Klein, know their request's id."""
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__:
            for each in list(vars(base).values()):
                correlation.correlate(each)
        if IResource.implementedBy(cls):
            # Whichever ``render`` it is that the class has, and wherever the mixin stands.
            kind: Any = cls
            kind.render = correlation.serving(kind.render)

    @property
    def amqp_link(self) -> Link:
        """The link of the application; without an ``install``, NotReady is raised."""
        link = self._amqp_link()
        if link is None:
            raise NotReady(_MISSING)
        return link

    @property
    def amqp_state(self) -> str:
        """The link's: ``idle connecting ready blocked closing closed``."""
        link = self._amqp_link()
        return "idle" if link is None else link.state

    @property
    def amqp_state_description(self) -> str:
        """Why it is in this state, in one line. It may hold the broker's words, no password."""
        link = self._amqp_link()
        return _MISSING if link is None else link.state_description

    def amqp_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Mapping[str, Any] | None = None,
        *,
        mandatory: bool = False,
        timeout: float | None = None,
        request: Any = None,
    ) -> Deferred[None]:
        """Publish a message; fires on the broker's ack.

        While the link is down it waits, up to `timeout` seconds or ``AMQP_TIMEOUT``. Failures
        are those of ``Link.publish``; without an ``install`` it is NotReady.

        Args:
            exchange: where to; must exist.
            routing_key: its key.
            body: the bytes.
            properties: by AMQP's names. ``correlation_id`` is the id of the request that is being
                served, if there is one, unless it is given here; ``None`` leaves it out.
            mandatory: fail with Unroutable when no queue takes it.
            timeout: seconds until it fails.
            request: whose id is meant, where that can't be known: in a callback of a Deferred that
                is not returned to Klein, or after ``NOT_DONE_YET``.
        """
        link = self._amqp_link()
        if link is None:
            return fail(NotReady(_MISSING))
        identity = correlation.current_id() if request is None else request_id(request)
        if identity is not None:
            properties = {"correlation_id": identity} | dict(properties or {})
        return link.publish(
            exchange, routing_key, body, properties, mandatory=mandatory, timeout=timeout
        )

    def _amqp_link(self) -> Link | None:
        for owner in (
            self,
            getattr(self, "application", None),
            getattr(self, "app", None),
            getattr(type(self), "app", None),
        ):
            link: Link | None = getattr(owner, ATTRIBUTE, None)
            if link is not None:
                return link
        return None
