"""Run benchmarks: ``python -m benchmarks`` for all or one by name, see ``--help``.

Every case is run in turns, twbridge and each rival after the other, and the turns repeated; a
figure is the median over the turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import results
from benchmarks.cases import Plan, codec, fanout, idle, latency, publish, say
from benchmarks.client_cases import acks, deflate, stalled, stream
from benchmarks.results import Section
from benchmarks.rpc_cases import rpc
from benchmarks.servers import HERE
from benchmarks.stomp_cases import stomp
from benchmarks.wsgi_cases import wsgi

RESULTS = HERE / "results.json"
DOCS = HERE.parent / "docs" / "benchmarks.md"
_NOISE = 0.1

BENCHMARKS: dict[str, Callable[[Plan], dict[str, Section]]] = {
    "codec": codec,
    "fanout": fanout,
    "publish": publish,
    "idle": idle,
    "latency": latency,
    "acks": acks,
    "stream": stream,
    "deflate": deflate,
    "stalled": stalled,
    "stomp": stomp,
    "rpc": rpc,
    "wsgi": wsgi,
}
ORDER = [
    "codec-deliver",
    "codec-publish",
    "fanout-raw-100",
    "fanout-raw-500",
    "fanout-json-100",
    "publish-routed",
    "publish-unrouted",
    "idle-raw",
    "idle-json",
    "idle-deflate",
    "latency",
    "acks",
    "stream",
    "deflate",
    "stalled",
    "stomp-fanout-200",
    "stomp-fanout-500",
    "stomp-sends",
    "stomp-latency",
    "stomp-connects",
    "stomp-idle",
    "rpc-rate",
    "rpc-latency",
    "rpc-outstanding",
    "wsgi-empty",
    "wsgi-sleep",
    "wsgi-compute",
]


def _warn(section: Section) -> None:
    """Say so if the machine was not quiet."""
    noise = [n for series in section.series for n in series.figures.get("others", [])]
    if any(n > _NOISE for n in noise):
        say(f"Other programs used up to {max(noise):.1f} cores: do not trust these figures.\n")


def main() -> None:
    """Measure what the command line asks for; exit 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        default="all",
        choices=["all", "docs", *BENCHMARKS],
        help="what to measure; docs writes docs/benchmarks.md from what was measured last",
    )
    parser.add_argument("--turns", type=int, default=Plan.turns)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--clients", type=int, default=Plan.idle_clients, help="of idle")
    parser.add_argument("--messages", type=int, default=Plan.messages, help="of codec")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the JSON file to update")
    parser.add_argument(
        "--quick", action="store_true", help="one short turn, to see that all works; writes nothing"
    )
    arguments = parser.parse_args()
    if arguments.what == "docs":
        results.write_docs(arguments.output, DOCS, ORDER)
        return
    plan = Plan(arguments.turns, arguments.seconds, arguments.clients, arguments.messages)
    if arguments.quick:
        plan = Plan(1, 1.0, min(arguments.clients, 500), 5000, 10000, 200)
    chosen = list(BENCHMARKS) if arguments.what == "all" else [arguments.what]
    missed = 0
    for name in chosen:
        sections = BENCHMARKS[name](plan)
        for section in sections.values():
            print(section.markdown(), flush=True)
            _warn(section)
            missed += sum(not claim.holds for claim in section.claims)
        if not arguments.quick:
            results.save(sections, arguments.output)
    if not arguments.quick and arguments.output == RESULTS:
        results.write_docs(RESULTS, DOCS, ORDER)
    if missed and not arguments.quick:
        raise SystemExit(f"{missed} of the targets were missed")


if __name__ == "__main__":
    main()
