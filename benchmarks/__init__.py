"""Benchmarks: twbridge and its rivals, measured in turns on one machine.

Run them with ``make bench`` or ``python -m benchmarks.run all``; docs/benchmarks.md explains the
method and shows the latest table.
"""
