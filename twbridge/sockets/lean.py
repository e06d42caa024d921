"""Autobahn's server protocol without what thousands of connections can't afford.

As it comes, a connection keeps its request, its timers' places, counters, futures that nobody
waits for and a copy of every option: 9 KB. Here an open connection keeps what differs from the
others, and Autobahn's log, which tells of whole request heads at its lowest level and of each
bad handshake as a warning, is silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator


class Hush:
    """A log that keeps silent."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        return self._nothing

    @staticmethod
    def _nothing(*_: object, **__: object) -> None:
        pass


class _Fresh:
    """An attribute made when it is first read; deleting it from the instance makes a new one."""

    def __init__(self, make: Callable[[], Any], name: str) -> None:
        self._make = make
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._make()
        return value


class _Nobody:
    """Stands for the futures of opening and closing."""

    def callback(self, _result: object) -> None:
        """Nobody waits for it."""


DEFAULTS: Final[dict[str, Any]] = {
    "is_closed": _Nobody(),
    "is_open": _Nobody(),
    "trafficStats": TrafficStats(),
    "utf8validator": _Fresh(Utf8Validator, "utf8validator"),
    "send_queue": (),
    "triggered": False,
    "trackedTimings": None,
    "_transport_details": None,
    "_perMessageCompress": None,
    "wasMaxFramePayloadSizeExceeded": False,
    "wasMaxMessagePayloadSizeExceeded": False,
    "closedByMe": False,
    "failedByMe": False,
    "droppedByMe": False,
    "wasClean": False,
    "wasNotCleanReason": None,
    "wasOpenHandshakeTimeout": False,
    "wasCloseHandshakeTimeout": False,
    "wasServerConnectionDropTimeout": False,
    "wasServingFlashSocketPolicyFile": False,
    "localCloseCode": None,
    "localCloseReason": None,
    "remoteCloseCode": None,
    "remoteCloseReason": None,
    "openHandshakeTimeoutCall": None,
    "closeHandshakeTimeoutCall": None,
    "autoPingTimeoutCall": None,
    "autoPingPending": None,
    "autoPingPendingCall": None,
    "autoPingPendingSent": None,
    "autoPingPendingSeq": 0,
    "send_state": WebSocketServerProtocol.SEND_STATE_GROUND,
    "current_frame": None,
    "inside_message": False,
    "websocket_version": 13,
    "current_frame_masker": None,
    "utf8validateLast": None,
    "data": b"",
    "connected": 1,
    "peer": "",
}
"""Autobahn's attributes, with the value that they have for nearly every open connection. The
class gets them, `slim` takes them from the instances."""

# What only the handshake needed.
_SPENT: Final = frozenset(
    {
        "_opening",
        "_results",
        "_transport_details",
        "_valid_events",
        "_wskey",
        "http_headers",
        "http_request_data",
        "http_request_host",
        "http_request_params",
        "http_request_path",
        "http_request_uri",
        "http_response_data",
        "http_status_line",
        "is_closed",
        "is_open",
        "peer",
        "send_queue",
        "trafficStats",
        "utf8validator",
        "websocket_extensions",
        "websocket_extensions_in_use",
        "websocket_origin",
        "websocket_protocol_in_use",
        "websocket_protocols",
    }
)
_ABSENT: Final = object()


def slim(protocol: WebSocketServerProtocol) -> None:
    """Takes from an open connection what only the handshake needed, and what its class has too.

    A dict does not shrink by deletion, hence a new one.
    """
    kind = type(protocol)
    protocol.__dict__ = {
        name: value
        for name, value in vars(protocol).items()
        if name not in _SPENT and getattr(kind, name, _ABSENT) is not value
    }


def take_message(protocol: WebSocketServerProtocol) -> list[bytes]:
    """Takes the parts of a message that is complete, and with them what only reading it needed."""
    parts: list[bytes] = protocol.message_data
    protocol.message_data = None  # type: ignore[assignment]
    for name in ("utf8validator", "current_frame_masker", "utf8validateLast"):
        vars(protocol).pop(name, None)
    if protocol._perMessageCompress is not None:
        # No context goes over to the next message, but its window would stay allocated.
        protocol._perMessageCompress._decompressor = None
    return parts
