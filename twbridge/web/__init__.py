"""The HTTP side: the chat page, its files, health and readiness, on twisted.web.

``site.py`` is the way in; ``files.py`` serves what lies in ``static/``; ``readiness.py`` knows
whether the instance should be given clients.
"""
