"""HTTP through a real bridge, RabbitMQ or the embedded broker, and real workers."""

from __future__ import annotations

from typing import ClassVar

from tests.integration import wsgi_frameworks, wsgi_http
from tests.integration.wsgi_cases import OnOwnBroker


class WsgiHttpTests(wsgi_frameworks.Frameworks, wsgi_http.Hostile):
    """Before RabbitMQ."""

    mounts: ClassVar = wsgi_frameworks.MOUNTS | wsgi_http.MOUNTS
    served: ClassVar = (*wsgi_frameworks.SERVED, *wsgi_http.SERVED)


class EmbeddedWsgiHttpTests(OnOwnBroker, WsgiHttpTests):
    """The same on the embedded broker."""
