"""A few tasks. A worker that serves them, a call, and their queues (docs/rpc.md)::

    twbridge worker examples/rpc/tasks.py
    twbridge call add '[1, 2]'
    twbridge call report '{"pages": 5}' --progress
    twbridge tasks

The first and the last want to know the broker: ``AMQP_URL`` or ``--amqp-url``.
"""

from __future__ import annotations

import time
from typing import Any

from twbridge.rpc import PublicError, context, task


@task("add")
def add(a: float, b: float) -> float:
    """``[1, 2]`` gives 3. A plain function runs in a process of its own."""
    return a + b


@task("report", timeout=600.0)
def report(pages: int = 3, seconds: float = 1.0) -> dict[str, Any]:
    """A slow one, which says how far it is. Who cancels it need not wait for its end."""
    for page in range(1, pages + 1):
        time.sleep(seconds)
        context.progress({"page": page, "of": pages})
    return {"pages": pages, "by": context.worker}


@task("visits")
async def visits() -> int:
    """How often it was called. Settings live as long as the process that runs the task; all calls
    of a coroutine function are in one.
    """
    count = int(context.settings.get("visits", 0)) + 1
    context.settings["visits"] = count
    return count


@task("orders.save", guarantee="at-least-once", redelivery_limit=3)
def save(order: dict[str, Any]) -> str:
    """What must not be lost: it is tried again, and kept where it fails again and again."""
    if "id" not in order:
        raise PublicError("An order has an id.")
    return f"saved {order['id']}"
