"""The tasks that twbridge's callers call: both give back what they are given."""

from __future__ import annotations

from typing import Any

from twbridge.rpc import task


@task("bench.async", concurrency=100)
async def echo(value: Any) -> Any:
    return value


@task("bench.process", concurrency=2)
def echo_in_a_process(value: Any) -> Any:
    return value
