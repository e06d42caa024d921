"""The cases of STOMP: twbridge beside RabbitMQ's own Web STOMP, for the same client."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Literal

from benchmarks.cases import CORES, OURS, STOMP, Plan, say
from benchmarks.fanout import run_fanout
from benchmarks.idle import run_idle
from benchmarks.latency import StompWatch, run_latency
from benchmarks.results import Claim, Section
from benchmarks.servers import Broker, rabbitmq, twbridge
from benchmarks.stomp import quiet, run_connects, run_sends
from benchmarks.subjects import Stomp, bridge_stomp, web_stomp

SENDERS = 8
LISTENERS, LISTENED = 50, 200
"""Of the latency: clients, and messages a second."""


def stomp(plan: Plan) -> dict[str, Section]:
    """Fan-out, sends, latency, memory and new connections, each beside Web STOMP."""
    with rabbitmq() as broker, twbridge(broker) as ours:
        subjects = [bridge_stomp(ours), web_stomp(broker)]
        sections = {
            f"stomp-fanout-{count}": _fanout(plan, broker, subjects, count, bound)
            for count, bound in ((200, 8), (500, 15))
        }
        sections["stomp-sends"] = _sends(plan, broker, subjects)
        sections["stomp-latency"] = _latency(plan, broker, subjects)
        sections["stomp-connects"] = _connects(plan, broker, subjects)
    sections["stomp-idle"] = _idle(plan)
    return sections


def _fanout(plan: Plan, broker: Broker, subjects: list[Stomp], count: int, bound: float) -> Section:
    title = f"STOMP: fan-out, {count} clients"
    section = Section(title, {"rate": "deliveries/s", "cpu": "CPU us/delivery", **CORES})
    for _ in range(plan.turns):
        for subject in subjects:
            run = run_fanout(subject, broker, count, _seconds(plan))
            quiet(subject.process, broker.process)
            section.of(subject.name).add(rate=run.rate, cpu=run.cpu, **run.cores)
            say(f"{title}: {subject.name}: {run}")
    _compare(section, "rate", "Deliveries/s", "at least", bound)
    return section


def _sends(plan: Plan, broker: Broker, subjects: list[Stomp]) -> Section:
    title = f"STOMP: {SENDERS} clients send with receipts, persistent, into one durable queue"
    section = Section(title, {"rate": "receipts/s", "cpu": "CPU us/message", **CORES})
    for _ in range(plan.turns):
        for subject in subjects:
            run = run_sends(subject, broker, SENDERS, _seconds(plan))
            section.of(subject.name).add(rate=run.rate, cpu=run.cpu, **run.cores)
            say(f"{title}: {subject.name}: {run}")
    _compare(section, "rate", "Receipts/s", "at least", 0.9)
    return section


def _latency(plan: Plan, broker: Broker, subjects: list[Stomp]) -> Section:
    title = f"STOMP: AMQP publish to frame, {LISTENERS} clients, {LISTENED} messages/s"
    section = Section(title, {"p50": "p50 ms", "p99": "p99 ms", "worst": "slowest ms"})
    for _ in range(plan.turns):
        for subject in subjects:
            seconds = _seconds(plan) + 1
            run = run_latency(subject, broker, LISTENERS, LISTENED, seconds, StompWatch)
            quiet(subject.process, broker.process)
            section.of(subject.name).add(
                p50=run.p50, p99=run.p99, worst=run.worst, others=run.others
            )
            say(f"{title}: {subject.name}: {run}")
    _compare(section, "p99", "p99", "at most", 1)
    return section


def _connects(plan: Plan, broker: Broker, subjects: list[Stomp]) -> Section:
    count = plan.idle_clients // 5
    title = f"STOMP: {count:,} clients connect, log in and subscribe"
    units = {"rate": "subscribed/s", "cpu": "CPU us/client, both", **CORES}
    section = Section(title, units)
    for _ in range(plan.turns):
        for subject in subjects:
            run = run_connects(subject, broker, count)
            section.of(subject.name).add(rate=run.rate, cpu=run.cpu, **run.cores)
            say(f"{title}: {subject.name}: {run}")
    _compare(section, "rate", "Subscribed/s", "at least", 3)
    return section


def _idle(plan: Plan) -> Section:
    count = plan.idle_clients // 5
    title = f"STOMP: {count:,} idle subscribed clients, bridge and broker together"
    section = Section(title, {"share": "KB/client", "base": "MB without clients"})
    for _ in range(min(plan.turns, 2)):
        for bridged in (True, False):
            # Each run needs fresh processes: memory that an earlier one left is used again.
            with ExitStack() as stack:
                broker = stack.enter_context(rabbitmq())
                subject = web_stomp(broker)
                if bridged:
                    subject = bridge_stomp(stack.enter_context(twbridge(broker)))
                run = run_idle(subject, broker, count, with_broker=True)
            section.of(subject.name).add(share=run.share / 1024, base=run.base / 2**20)
            say(f"{title}: {subject.name}: {run}")
    _compare(section, "share", "Memory of a client", "at most", 0.1)
    return section


def _seconds(plan: Plan) -> float:
    """How long a run lasts: there are more than sixty of them."""
    return max(1.0, plan.seconds - 1)


def _compare(
    section: Section, figure: str, text: str, sense: Literal["at least", "at most"], bound: float
) -> None:
    ratio = section.ratio(figure, OURS, STOMP)
    section.claims.append(Claim(f"{text}, twbridge / {STOMP}", ratio, sense, bound))
