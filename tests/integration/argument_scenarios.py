"""What both brokers are asked about arguments of queues: values, and declaring again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.integration.broker_scenarios import Step, publish, queue
from tests.integration.quorum_scenarios import DROP, quorum

DLX, KEY = "x-dead-letter-exchange", "x-dead-letter-routing-key"
LIMIT = "x-delivery-limit"

_VALUES: list[dict[str, Any]] = [
    *({"x-message-ttl": value} for value in (0, -1, "1", 1.5, True, 315_360_000_001)),
    *({DLX: value} for value in (1, True, None, "", "parity.no")),
    *({DLX: "", KEY: value} for value in (1, None, "", "k")),
    {KEY: "k"},
    {KEY: 1},
    *({"x-max-priority": value} for value in (0, 255, 256, -1, "1", True, 1.5)),
    *({"x-max-length-bytes": value} for value in (0, "1")),
    *({"x-overflow": value} for value in ("reject-publish-dlx", "drop-head", "dlx", None)),
    *({"x-queue-mode": value} for value in ("default", "lazy", "odd", 1)),
    *({"x-queue-version": value} for value in (1, 2, 3, -1, "1")),
    *({"x-single-active-consumer": value} for value in (False, 1, "true")),
    {"x-dead-letter-strategy": "at-most-once"},
    {"x-dead-letter-strategy": "odd"},
    {"x-delivery-limit": 1},
    {"x-max-in-memory-bytes": 1},
    {"x-quorum-initial-group-size": 1},
    {DLX: 1, "x-queue-type": "odd"},
    {"x-message-ttl": -1, "x-expires": 0},
    {"x-max-priority": -1, "x-message-ttl": -1, "x-max-age": "1D"},
    {"x-delivery-limit": 1, "x-max-age": "1D"},
    {"x-max-age": "1D", "x-delivery-limit": 1},
]
_AGAIN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"x-message-ttl": 1000}, {"x-message-ttl": 1000}),
    ({"x-message-ttl": 1000}, {"x-message-ttl": 2000}),
    ({"x-message-ttl": 1000}, {}),
    ({}, {"x-message-ttl": 1000}),
    ({DLX: "a"}, {DLX: "b"}),
    ({DLX: "a"}, {}),
    ({DLX: "a"}, {DLX: 1}),
    ({DLX: "a", KEY: "a"}, {DLX: "a", KEY: "b"}),
    ({DLX: "a", KEY: "a"}, {DLX: "a"}),
    ({DLX: "a", KEY: "a"}, {KEY: "a"}),
    ({"x-max-priority": 10}, {"x-max-priority": 10}),
    ({"x-max-priority": 10}, {"x-max-priority": 9}),
    ({"x-max-priority": 10}, {}),
    ({}, {"x-max-priority": 10}),
    ({}, {"x-max-priority": -1}),
    ({"x-max-length-bytes": 1}, {"x-max-length-bytes": 2}),
    ({"x-overflow": "reject-publish-dlx"}, {"x-overflow": "reject-publish"}),
    ({"x-queue-mode": "lazy"}, {}),
    ({"x-queue-mode": "lazy"}, {"x-queue-mode": "default"}),
    ({"x-queue-version": 2}, {"x-queue-version": 1}),
    ({"x-single-active-consumer": False}, {}),
    ({"x-message-ttl": 1, "x-expires": 9000}, {"x-message-ttl": 2, "x-expires": 8000}),
    ({"x-overflow": "drop-head", "x-max-priority": 1}, {}),
    ({}, {"x-queue-type": "quorum"}),
    ({"x-max-length": 1}, {"x-queue-type": "quorum"}),
    ({}, {"x-delivery-limit": 1}),
]

_QUORUM_VALUES: list[dict[str, Any]] = [
    {LIMIT: 3},
    {LIMIT: 0},
    {"x-max-priority": 3},
    {"x-queue-mode": "lazy"},
    {"x-queue-version": 2},
    {"x-queue-master-locator": "min-masters"},
    {"x-max-age": "1D"},
    {"x-message-ttl": 1000},
    {"x-message-ttl": -1},
    {"x-expires": 60000},
    {"x-expires": 0},
    {"x-max-length": 3},
    {"x-max-length": -3},
    {"x-max-length-bytes": 3},
    {"x-max-length-bytes": "3"},
    {"x-max-in-memory-length": 3},
    {"x-max-in-memory-length": -3},
    {"x-max-in-memory-bytes": 3},
    {"x-max-in-memory-bytes": "3"},
    {"x-overflow": "drop-head"},
    {"x-overflow": "reject-publish"},
    {"x-overflow": "reject-publish-dlx"},
    {"x-overflow": "odd"},
    {"x-quorum-initial-group-size": 1},
    {"x-quorum-initial-group-size": 0},
    {"x-quorum-initial-group-size": "1"},
    {"x-initial-cluster-size": 1},
    {"x-queue-leader-locator": "balanced"},
    {"x-queue-leader-locator": "odd"},
    {"x-dead-letter-strategy": "at-most-once"},
    {"x-dead-letter-strategy": "odd"},
    {"x-dead-letter-strategy": 1},
    {DLX: "a", KEY: "b"},
    {KEY: "b"},
    {DLX: 1},
    {"x-single-active-consumer": "true"},
    {"x-single-active-consumer": False},
]
_QUORUM_AGAIN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({LIMIT: 3}, {LIMIT: 3}),
    ({LIMIT: 3}, {LIMIT: 4}),
    ({LIMIT: 3}, {}),
    ({}, {LIMIT: 3}),
    ({}, {"x-max-priority": 3}),
    ({DLX: "a", LIMIT: 3}, {DLX: "b", LIMIT: 4}),
    ({"x-message-ttl": 1, LIMIT: 3}, {"x-message-ttl": 2, LIMIT: 4}),
    ({"x-quorum-initial-group-size": 1}, {"x-quorum-initial-group-size": 2}),
    ({"x-dead-letter-strategy": "at-most-once"}, {}),
    ({"x-max-in-memory-length": 1}, {"x-max-in-memory-length": 2}),
    ({}, {"x-queue-type": "classic"}),
    ({}, {"x-queue-type": "stream"}),
]

SCENARIOS: dict[str, Sequence[Step]] = {
    **{f"a queue with {arguments}": [queue(arguments=arguments)] for arguments in _VALUES},
    **{
        f"a queue with {first}, then {second}": [queue(arguments=first), queue(arguments=second)]
        for first, second in _AGAIN
    },
    **{
        f"publish with expiration {expiration}": [publish("", "nobody", expiration=expiration)]
        for expiration in ("0", "+5", "007", " 5", "5 ", "1e3", "315360000000", "315360000001")
    },
    **{
        f"a quorum queue with {arguments}": [DROP, quorum(arguments=arguments)]
        for arguments in _QUORUM_VALUES
    },
    **{
        f"a quorum queue with {first}, then {second}": [
            DROP,
            quorum(arguments=first),
            quorum(arguments=second),
        ]
        for first, second in _QUORUM_AGAIN
    },
}
