"""Workers of WSGI applications, their clients and their broker: dying, leaving, reading slowly."""

from __future__ import annotations

from typing import ClassVar

from tests.integration import wsgi_life, wsgi_sizes
from tests.integration.cases import OwnNode
from tests.integration.rabbitmq import free_ports
from tests.integration.wsgi_cases import OnOwnBroker


class Rows(wsgi_life.Life, wsgi_sizes.Sizes):
    """What must work, on both brokers."""

    __test__ = False
    mounts: ClassVar = wsgi_life.MOUNTS | wsgi_sizes.MOUNTS
    served: ClassVar = (*wsgi_life.SERVED, *wsgi_sizes.SERVED)


class WsgiWorkerTests(OwnNode, Rows):
    """On a RabbitMQ of their own, which dies and comes back."""

    __test__ = True


class EmbeddedWsgiWorkerTests(OnOwnBroker, Rows):
    """The same on the embedded broker, which dies and comes back with its bridge."""

    __test__ = True

    @classmethod
    def settings(cls) -> str:
        (port,) = free_ports(1)
        return super().settings() + f'[embedded]\nlisten = "127.0.0.1:{port}"\n'

    def restart(self) -> None:
        self.bridge.kill()
        self.bridge.start()
