"""Hypothesis strategies for what AMQP 0-9-1 can carry, shared by the tests of the codec."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

#: Any Unicode text that has an encoding: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
#: The same as a short string: at most 255 bytes.
short_texts = texts.filter(lambda text: len(text.encode()) <= 255)

integers = st.one_of(
    st.integers(-(2**7), 2**7 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([-(2**31) - 1, -(2**31), 2**31 - 1, 2**31, 2**32, -(2**63), 2**63 - 1]),
)
decimals = st.builds(
    lambda mantissa, scale: Decimal(mantissa).scaleb(-scale),
    st.integers(-(2**31) + 1, 2**31 - 1),
    st.integers(0, 255),
)
times = st.datetimes(
    datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59), timezones=st.just(UTC)
).map(lambda time: time.replace(microsecond=0, fold=0))

scalars: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    integers,
    st.floats(allow_nan=False),
    decimals,
    texts,
    st.binary(max_size=40),
    times,
    st.none(),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(short_texts, inner, max_size=4)
    ),
    max_leaves=12,
)
tables = st.dictionaries(short_texts, values, max_size=5)

octets = st.integers(0, 255)
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": short_texts,
        "content_encoding": short_texts,
        "headers": tables,
        "delivery_mode": octets,
        "priority": octets,
        "correlation_id": short_texts,
        "reply_to": short_texts,
        "expiration": short_texts,
        "message_id": short_texts,
        "timestamp": st.integers(0, 2**64 - 1),
        "type": short_texts,
        "user_id": short_texts,
        "app_id": short_texts,
        "cluster_id": short_texts,
    },
)


def exact(value: Any) -> Any:
    """``value`` with its types beside it, because ``True == 1 == 1.0`` in Python."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value), repr(value)
