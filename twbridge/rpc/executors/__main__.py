"""A child of a worker. It is started by ``process.Child``, never by hand."""

from __future__ import annotations

import sys

from twbridge.rpc.executors.inside.main import main

if __name__ == "__main__":
    main(sys.argv[1:])
