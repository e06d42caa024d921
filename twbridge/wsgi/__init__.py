"""WSGI over queues: HTTP requests go to workers that run a WSGI application (PEP 3333).

::

    client -- HTTP --> bridge (gateway.py) -- queue of the mount --> worker.py -- pipe --> inside/
           <---------  answers, in parts  <-- queue of the bridge --          <--------

``messages.py`` is what they say to each other.
"""
