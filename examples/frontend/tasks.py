"""The work that would block a web server: it runs in processes of ``twbridge worker``."""

from __future__ import annotations

import os
from typing import Any

from twbridge.rpc import PublicError, task


@task("frontend.factors", timeout=10.0, concurrency=4)
def factors(number: int) -> dict[str, Any]:
    """The prime factors of a number, and the process that found them.

    The time grows with the root of the number: of a prime of 16 digits it is some seconds.
    """
    if number < 2:
        raise PublicError("Only whole numbers from 2 up have prime factors.")
    found, divisor = [], 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            found.append(divisor)
            number //= divisor
        else:
            divisor += 1
    return {"factors": [*found, number], "process": os.getpid()}
