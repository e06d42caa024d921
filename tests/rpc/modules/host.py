"""Not a module of tasks: a worker's process, whose death is tested. Prints the ids of its children.

Arguments: a module of tasks, and the name of one that is called with the path that is the third.
"""

import os
import sys
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred

from twbridge.rpc.executors.pool import Executors
from twbridge.rpc.messages import Request
from twbridge.rpc.serializers import Serializers

reactor: Any = the_reactor


async def _main(module: str, name: str, path: str) -> None:
    executors = Executors(reactor, module, worker="w", concurrency=1, settings={})
    tasks = {each.name: each for each in await executors.start()}
    executors.run(tasks[name], Request("c", name, "me", Serializers().encode(path)))
    children = [child.pid for crew in executors._crews.values() for child in crew.staff.children]
    print(os.getpid(), *children, flush=True)


if __name__ == "__main__":
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(_main(*sys.argv[1:])))
    reactor.run()
