"""Headers are changed and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge import wire
from twbridge.broker.rewriting import array, long, rewritten, table, value

_texts = st.text(max_size=20)
_values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.none(),
        _texts,
        st.binary(max_size=20).filter(lambda data: not _is_text(data)),
        st.just(datetime(2026, 1, 2, tzinfo=UTC)),
        st.just(Decimal("1.25")),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": _texts,
        "content_encoding": _texts,
        "headers": st.dictionaries(_texts, _values, max_size=5),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "correlation_id": _texts,
        "reply_to": _texts,
        "expiration": _texts,
        "message_id": _texts,
        "timestamp": st.integers(0, 2**63),
        "type": _texts,
        "user_id": _texts,
        "app_id": _texts,
    },
)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class RewritingTests(SynchronousTestCase):
    @given(_properties, st.booleans())
    def test_only_what_was_asked_for_changes(
        self, properties: dict[str, Any], expiration: bool
    ) -> None:
        headers = {"gone": 1, **properties.get("headers", {}), "n": "old"}
        before = {**properties, "headers": headers}
        raw = rewritten(
            wire.encode_properties(before), {"n": long(1)}, without=["gone"], expiration=expiration
        )
        expected = {key: of for key, of in headers.items() if key != "gone"}
        after = {**before, "headers": {**expected, "n": 1}}
        if not expiration:
            after.pop("expiration", None)
        self.assertEqual(wire.decode_properties(raw), after)

    @given(_properties)
    def test_nothing_asked_for_is_nothing_changed(self, properties: dict[str, Any]) -> None:
        raw = wire.encode_properties({**properties, "headers": properties.get("headers", {})})
        self.assertEqual(rewritten(raw, {}), raw)

    def test_headers_appear_where_there_were_none(self) -> None:
        raw = rewritten(b"\0\0", {"a": array([table({"b": value("c")})])})
        self.assertEqual(wire.decode_properties(raw), {"headers": {"a": [{"b": "c"}]}})

    def test_every_type_of_field_is_stepped_over(self) -> None:
        sizes = {"b": 1, "B": 1, "t": 1, "s": 2, "u": 2, "I": 4, "i": 4, "f": 4}
        sizes |= {"l": 8, "L": 8, "d": 8, "T": 8, "D": 5, "V": 0}
        fields = b"".join(
            b"\x01%b%b%b" % (kind.encode(), kind.encode(), bytes(size))
            for kind, size in sizes.items()
        )
        raw = b"\x20\0" + len(fields).to_bytes(4, "big") + fields
        found = wire.decode_properties(rewritten(raw, {"z": long(2)}, without=["u"]))
        self.assertEqual(list(found["headers"]), [key for key in sizes if key != "u"] + ["z"])
