"""Workers of WSGI applications, their clients and their broker: dying, leaving, reading slowly."""

from __future__ import annotations

from typing import ClassVar

from tests.integration import wsgi_life, wsgi_sizes
from tests.integration.rabbitmq import Node, free_ports, started
from tests.integration.wsgi_cases import OnOwnBroker


class WsgiWorkerTests(wsgi_life.Life, wsgi_sizes.Sizes):
    """On a RabbitMQ of their own, which dies and comes back."""

    mounts: ClassVar = wsgi_life.MOUNTS | wsgi_sizes.MOUNTS
    served: ClassVar = (*wsgi_life.SERVED, *wsgi_sizes.SERVED)

    @classmethod
    def own_node(cls) -> Node:
        return started()

    @classmethod
    def tearDownClass(cls) -> None:
        try:
            super().tearDownClass()
        finally:
            cls.end_broker()

    @classmethod
    def end_broker(cls) -> None:
        cls.node.close()


class EmbeddedWsgiWorkerTests(OnOwnBroker, WsgiWorkerTests):
    """The same on the embedded broker, which dies and comes back with its bridge."""

    @classmethod
    def settings(cls) -> str:
        (port,) = free_ports(1)
        return super().settings() + f'[embedded]\nlisten = "127.0.0.1:{port}"\n'

    @classmethod
    def end_broker(cls) -> None:
        """It was the bridge."""

    def restart(self) -> None:
        self.bridge.kill()
        self.bridge.start()
