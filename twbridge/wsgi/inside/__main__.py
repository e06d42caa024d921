"""A child of a WSGI worker. The worker starts it, never a person."""

from __future__ import annotations

import sys

from twbridge.wsgi.inside.main import main

if __name__ == "__main__":
    main([int(each) for each in sys.argv[2:]])  # behind the application's name
