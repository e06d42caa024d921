"""The cases of WSGI over queues, beside gunicorn."""

from __future__ import annotations

from benchmarks.cases import OURS, Plan, say
from benchmarks.results import Claim, Section
from benchmarks.servers import rabbitmq
from benchmarks.wsgi import CONNECTIONS, bridged, gunicorn, run_wsgi

_CASES = {
    "wsgi-empty": ("an empty page", "/empty", b"", 0.4),
    "wsgi-sleep": ("a page that sleeps 20 ms", "/sleep", b"slept", 0.9),
    "wsgi-compute": ("a page that computes 20 ms", "/compute", b"done", 0.9),
}


def wsgi(plan: Plan) -> dict[str, Section]:
    """Requests a second through queues and through gunicorn."""
    units = {"rate": "requests/s", "p50": "p50 ms", "p99": "p99 ms"}
    units |= {"cpu": "CPU us/request, all", "server": "cores, server", "broker": "cores, broker"}
    units |= {"load": "cores, load"}
    sections = {}
    with rabbitmq() as broker, bridged(broker) as ours, gunicorn() as theirs:
        for key, (what, path, body, bound) in _CASES.items():
            title = f"WSGI: {what} of Flask, {CONNECTIONS} clients, 2 processes"
            section = sections[key] = Section(title, units)
            for _ in range(plan.turns):
                for served in (ours, theirs):
                    run = run_wsgi(served, broker, path, body, plan.seconds)
                    load = run.load
                    section.of(served.name).add(
                        rate=load.rate, p50=load.p50, p99=load.p99, cpu=run.cpu, **run.cores
                    )
                    say(f"{title}: {served.name}: {run}")
            ratio = section.ratio("rate", OURS, theirs.name)
            text = f"Requests/s, {OURS} / {theirs.name}"
            section.claims.append(Claim(text, ratio, "at least", bound))
    return sections
