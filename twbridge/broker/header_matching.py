"""Whether the headers of a message fit a binding of a headers exchange (sans-I/O).

Source: https://www.rabbitmq.com/tutorials/amqp-concepts.html#exchange-headers, and what RabbitMQ
3.10 takes for equal: 1 and 1.0, "1" and its bytes, a time and its seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

__all__ = ["fits"]

Headers = Mapping[str, Any]

_PLAIN = (str, int, bool, float, bytes, datetime)


def fits(pattern: Headers, headers: Headers) -> bool:
    """Whether headers fit the arguments of a binding.

    ``x-match`` is ``all`` (the default) or ``any``. Names that begin with ``x-`` are compared with
    ``all-with-x`` and ``any-with-x`` only. An argument without a value asks only for a header of
    that name.
    """
    kind = pattern.get("x-match", "all")
    with_x = kind.endswith("-with-x")
    tests = (
        key in headers and (value is None or _same(value, headers[key]))
        for key, value in pattern.items()
        if key != "x-match" and (with_x or not key.startswith("x-"))
    )
    return any(tests) if kind.startswith("any") else all(tests)


def _same(left: Any, right: Any) -> bool:
    if type(left) is type(right) and isinstance(left, _PLAIN):
        return bool(left == right)
    return bool(_term(left) == _term(right))


def _term(value: Any) -> object:
    """What RabbitMQ compares: inside of arrays and tables the types count as well."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, bool) or value is None:
        return ("atom", value)
    if isinstance(value, Decimal):
        return ("decimal", value.as_tuple())
    if isinstance(value, Mapping):
        return [(key, type(item), _term(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [(type(item), _term(item)) for item in value]
    return value
