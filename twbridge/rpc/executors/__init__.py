"""Where tasks run: in processes that can be ended at any time.

``pool.Executors`` is the worker's side. ``python -m twbridge.rpc.executors`` is a child
(``inside/``); this file imports nothing, so that a child starts as fast as it can.

======================= =====================================================================
`pool`                  what a worker uses
`crew`, `run`, `staff`  the calls of one kind, and the children that run them
`process`, `channel`    one child, as the worker sees it
`pipe`, `outcomes`      what they tell each other, and how a call can end
`deadlines`             thousands of them with one timer
`inside`                a child
======================= =====================================================================
"""
