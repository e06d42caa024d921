"""The cases of RPC: twbridge's calls beside those of FastStream and Celery."""

from __future__ import annotations

from benchmarks.cases import Plan, say
from benchmarks.results import Claim, Section
from benchmarks.rpc import (
    ASYNC,
    FASTSTREAM,
    OUTSTANDING,
    PROCESS,
    WINDOW,
    Rival,
    best_celery,
    run_outstanding,
    run_window,
    serving,
)
from benchmarks.servers import Broker, rabbitmq

TIMES = 3
"""How often the rate of the better rival, at least."""


def rpc(plan: Plan) -> dict[str, Section]:
    """Round trips a second, their latency, and many calls at once."""
    with rabbitmq() as broker:
        celery, rates = best_celery(broker, min(plan.seconds, 2.0))
        say(f"Celery's pools, calls/s: { {name: round(rate) for name, rate in rates.items()} }")
        rivals = (ASYNC, PROCESS, FASTSTREAM, celery)
        sections = {
            "rpc-rate": _rate(plan, broker, rivals, rates),
            "rpc-latency": _latency(plan, broker, rivals),
            "rpc-outstanding": _outstanding(plan, broker, rivals),
        }
    section = sections["rpc-rate"]
    for ours in (ASYNC, PROCESS):
        for rival in (FASTSTREAM, celery):
            ratio = section.ratio("rate", ours.name, rival.name)
            text = f"Calls/s, {ours.name} / {rival.name}"
            section.claims.append(Claim(text, ratio, "at least", TIMES))
    return sections


def _rate(
    plan: Plan, broker: Broker, rivals: tuple[Rival, ...], rates: dict[str, float]
) -> Section:
    found = ", ".join(f"{name.partition(', ')[2]}: {rate:,.0f}" for name, rate in rates.items())
    section = Section(
        f"RPC: round trips, 1 caller, 1 worker, {WINDOW} calls under way, 100-byte bodies",
        {"rate": "calls/s", "p50": "p50 ms", "p99": "p99 ms", "cpu": "CPU us/call, caller"},
        note=f"Celery's best pool of those measured before (calls/s; {found}).",
    )
    _windows(section, plan, broker, rivals, WINDOW)
    return section


def _latency(plan: Plan, broker: Broker, rivals: tuple[Rival, ...]) -> Section:
    section = Section(
        "RPC: one call after the other, 1 caller, 1 worker, 100-byte bodies",
        {"rate": "calls/s", "p50": "p50 ms", "p99": "p99 ms", "cpu": "CPU us/call, caller"},
    )
    _windows(section, plan, broker, rivals, 1)
    return section


def _windows(
    section: Section, plan: Plan, broker: Broker, rivals: tuple[Rival, ...], size: int
) -> None:
    for _ in range(plan.turns):
        for rival in rivals:
            with serving(rival, broker):
                run = run_window(rival, broker, size, plan.seconds)
            section.of(rival.name).add(**run)
            say(f"{section.title}: {rival.name}: {run}")


def _outstanding(plan: Plan, broker: Broker, rivals: tuple[Rival, ...]) -> Section:
    section = Section(
        f"RPC: {OUTSTANDING:,} calls at once, 1 caller, 1 worker, 100-byte bodies",
        {
            "sending": "s until all are sent",
            "seconds": "s until all are answered",
            "mb": "MB grown",
        },
        note="The memory is the caller's, at its highest.",
    )
    for _ in range(min(plan.turns, 3)):
        for rival in rivals:
            with serving(rival, broker):
                run = run_outstanding(rival, broker, OUTSTANDING)
            memory = run.pop("memory") / 2**20
            section.of(rival.name).add(mb=memory, **run)
            say(f"{section.title}: {rival.name}: {run}, {memory:.1f} MB")
    return section
