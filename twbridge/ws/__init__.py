"""WebSocket connections, on Autobahn; nothing else imports it.

A socket comes here from ``front.py`` with a request head that is complete, strict and bounded.
`BridgeFactory.admit` decides by the head alone: path, version, origin, subprotocol. Autobahn does
the handshake and reads the frames; what leaves is frames that were built elsewhere.

==============  =================================================================
``factory.py``  who comes in; every option of Autobahn, in one place
``protocol.py`` one connection: reading, writing, pausing, closing
``lean.py``     what an open connection need not keep
``ports.py``    what a connection and the session on it know of each other
==============  =================================================================

Its timers are off: ``keepalive.py`` pings, and drops who does not answer or let go.
"""

from .factory import BridgeFactory
from .ports import ISession, Opening, OpenSession, Socket, SocketOptions
from .protocol import BridgeProtocol

__all__ = [
    "BridgeFactory",
    "BridgeProtocol",
    "ISession",
    "OpenSession",
    "Opening",
    "Socket",
    "SocketOptions",
]
