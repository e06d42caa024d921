"""The sockets of clients, from accept to close; ``twbridge.ws`` is the door.

=================  ==============================================================
``front.py``       what every accepted socket meets first: limits, the request head
``heads.py``       request heads, read strictly
``census.py``      how many connections there are, in all and for each address
``origins.py``     who a client is behind proxies, and whose pages may connect
``factory.py``     who comes in; every option of Autobahn, in one place
``protocol.py``    one WebSocket: reading, writing, pausing, closing
``inbound.py``     plain messages, read without Autobahn's state machine
``direct.py``      broadcasts, written without waiting for the reactor
``lean.py``        what an open connection need not keep
``keepalive.py``   pings and deadlines of all connections, with one timer
``ports.py``       what a connection and the session on it know of each other
=================  ==============================================================
"""
