"""What both brokers are asked about headers exchanges: which bindings a message follows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pamqp import commands

from tests.integration.broker_scenarios import Step, bind, do, get, publish, queue
from tests.integration.letter_scenarios import DLX, D, E, letters, reject, taken

Headers = dict[str, Any]

Q = "parity.q"
THEN = datetime(2020, 1, 1, tzinfo=UTC)
X, WITH_X = {"x-match": "all"}, {"x-match": "all-with-x"}
ANY, ANY_WITH_X = {"x-match": "any"}, {"x-match": "any-with-x"}

#: The arguments of the binding, and the headers of the message.
_MATCHES: list[tuple[Headers, Headers]] = [
    # -- values -------------------------------------------------------------------------------
    *(
        ({"a": left}, {"a": right})
        for left, right in [
            (1, 1),
            (1, 2**40),
            (2**40, 2**40),
            (1, 1.0),
            (1.0, 1),
            (1.5, 1.5),
            ("1", b"1"),
            (b"\xff", b"\xff"),
            (THEN, THEN),
            (THEN, int(THEN.timestamp())),
            (int(THEN.timestamp()), THEN),
            (True, True),
            (True, 1),
            (True, "true"),
            (None, None),
            (1, None),
            ("", None),
            ([1, "a"], [1, "a"]),
            ([1, "a"], ["a", 1]),
            ([1], [1.0]),
            ([1], [2**40]),
            ({"b": 1}, {"b": 1}),
            ({"b": 1, "c": 2}, {"c": 2, "b": 1}),
            ({"b": 1}, {"b": 1, "c": 2}),
            (Decimal("1.5"), Decimal("1.5")),
            (Decimal("1.5"), Decimal("1.50")),
            (Decimal("1.5"), 1.5),
            ("é", "é"),
        ]
    ),
    # -- all, any -----------------------------------------------------------------------------
    ({}, {}),
    (X, {}),
    (ANY, {}),
    (WITH_X, {}),
    (ANY_WITH_X, {}),
    ({**X, "a": 1, "b": 2}, {"b": 2, "a": 1, "c": 3}),
    ({**X, "a": 1, "b": 2}, {"b": 2, "c": 3}),
    ({**ANY, "a": 1, "b": 2}, {"b": 2, "c": 3}),
    ({**ANY, "a": 1, "b": 2}, {"b": 3, "c": 3}),
    ({**ANY, "a": 1, "b": 2}, {}),
    ({**ANY, "a": None}, {"a": 7}),
    ({**ANY, "a": None}, {"b": 7}),
    # -- names that begin with x- -------------------------------------------------------------
    ({**X, "x-a": 1}, {"x-a": 2}),
    ({**X, "x-a": 1, "b": 2}, {"b": 2}),
    ({**X, "x-a": 1, "b": 2}, {"x-a": 1}),
    ({**ANY, "x-a": 1, "b": 2}, {"x-a": 1}),
    ({**ANY, "x-a": 1, "b": 2}, {"x-a": 1, "b": 2}),
    ({**WITH_X, "x-a": 1}, {"x-a": 1}),
    ({**WITH_X, "x-a": 1}, {"x-a": 2}),
    ({**WITH_X, "x-a": 1, "b": 2}, {"x-a": 1}),
    ({**WITH_X, "x-a": 1, "b": 2}, {"x-a": 1, "b": 2, "c": 3}),
    ({**WITH_X, "x-a": None}, {"x-a": 5}),
    ({**WITH_X, "x-a": None}, {"x-b": 5}),
    ({**ANY_WITH_X, "x-a": 1, "b": 2}, {"x-a": 1}),
    ({**ANY_WITH_X, "x-a": 1, "b": 2}, {"x-a": 2}),
    ({**ANY_WITH_X, "x-a": 1, "b": 2}, {"b": 2}),
    ({"x-": 1}, {"a": 1}),
    ({"x-a": 1}, {"x-a": 1}),
    ({"X-a": 1}, {"x-a": 1}),
    ({**WITH_X, "a": 1}, {"x-match": "any", "a": 1}),
]
_REFUSED: list[Headers] = [{"x-match": value} for value in ("ALL", "", "all-with-X", True, None, 1)]

SCENARIOS: dict[str, Sequence[Step]] = {
    **{
        f"headers {arguments} {headers}": [
            queue(),
            bind("amq.headers", arguments=arguments),
            publish("amq.headers", headers=headers, mandatory=True),
            get(),
        ]
        for arguments, headers in _MATCHES
    },
    "headers, no table at all": [
        queue(),
        bind("amq.headers", arguments={"a": 1}),
        publish("amq.headers", mandatory=True),
        bind("amq.headers", arguments={}),
        publish("amq.headers", mandatory=True),
        get(),
    ],
    **{
        f"headers {arguments}": [queue(), bind("amq.headers", arguments=arguments)]
        for arguments in _REFUSED
    },
    "x-match on another type of exchange": [
        queue(),
        bind("amq.direct", "k", arguments={"x-match": "odd"}),
        publish("amq.direct", "k"),
        get(),
    ],
    "two bindings that match are one way": [
        queue(),
        bind("amq.headers", arguments={"a": 1}),
        bind("amq.headers", arguments={"b": 1}),
        publish("amq.headers", headers={"a": 1, "b": 1}),
        get(),
        get(),
    ],
    "unbound by equal arguments": [
        queue(),
        bind("amq.headers", arguments={"a": 1, "b": "x"}),
        do(commands.Queue.Unbind(queue=Q, exchange="amq.headers", arguments={"b": "x", "a": 1})),
        publish("amq.headers", headers={"a": 1, "b": "x"}, mandatory=True),
    ],
    "dead letters of one caller each": [
        queue(D),
        queue(E),
        queue(arguments={DLX: "amq.headers"}),
        bind("amq.headers", to=D, arguments={"x-match": "all", "caller": "d"}),
        bind("amq.headers", to=E, arguments={"x-match": "all", "caller": "e"}),
        letters(),
        letters(name=E, tag="e"),
        publish("", Q, b"1", 1, headers={"caller": "e"}, expiration="1"),
        publish("", Q, b"2", 1, headers={"caller": "d"}, expiration="1"),
    ],
    "dead letters by their first death": [
        queue(D),
        queue(arguments={DLX: "amq.headers"}),
        bind(
            "amq.headers",
            to=D,
            arguments={
                "x-match": "all-with-x",
                "x-first-death-reason": "rejected",
                "x-first-death-queue": Q,
            },
        ),
        letters(),
        publish("", Q, b"0", expiration="0"),
        *taken(b"1"),
        reject(1, 1),
    ],
}
