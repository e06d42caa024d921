"""WebSocket connections: the door to ``sockets/``, where alone Autobahn is imported.

A socket meets ``sockets/front.py`` first, which reads its request head strictly and under limits.
`BridgeFactory.admit` decides by the head alone: path, version, origin, subprotocol. Autobahn does
the handshake and reads the frames; what leaves is frames that were built elsewhere.
"""

from twbridge.sockets.factory import BridgeFactory
from twbridge.sockets.ports import ISession, Opening, OpenSession, Socket, SocketOptions
from twbridge.sockets.protocol import BridgeProtocol

__all__ = [
    "BridgeFactory",
    "BridgeProtocol",
    "ISession",
    "OpenSession",
    "Opening",
    "Socket",
    "SocketOptions",
]
