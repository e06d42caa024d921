"""The same task in Celery, with results over rpc://; its caller imports this module too.

Its guide's advice for throughput is taken: transient queues and messages (``AMQP_URL`` says where),
and a large prefetch, which workers are given on the command line.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

app: Any = Celery("bench", broker=os.environ["AMQP_URL"], backend="rpc://")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_default_delivery_mode="transient",
    task_default_queue="bench.celery",
    worker_enable_remote_control=False,
)


def _echo(value: Any) -> Any:
    return value


echo: Any = app.task(name="bench.echo")(_echo)
