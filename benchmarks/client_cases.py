"""The cases of what clients rely on: acknowledgements, streams, compression, slow neighbours."""

from __future__ import annotations

from benchmarks.acks import Acknowledging, JsonAcks, StompAcks, run_acks
from benchmarks.cases import CORES, OURS, STOMP, Plan, say
from benchmarks.catchup import check_stream, filled_stream, run_bridge, run_pika
from benchmarks.deflate import EVENT, count_compressions
from benchmarks.fanout import run_fanout
from benchmarks.results import Claim, Section
from benchmarks.servers import rabbitmq, twbridge
from benchmarks.stalled import SEND_BUFFER, run_stalled
from benchmarks.subjects import JsonDialect

PIKA, PIKA_BY_50 = "pika, an ack for each", "pika, an ack for 50"
PLAIN, DEFLATED = "twbridge, plain", "twbridge, compressed"
READING, STALLED = "twbridge, all read", "twbridge, one reads nothing"
STREAM_PREFETCH = 100
STALLED_RATE = 40
AUDIENCE = 100


def acks(plan: Plan) -> dict[str, Section]:
    """Acknowledged deliveries a second of 8 clients."""
    title = "Acknowledged deliveries: 8 clients, a queue each"
    section = Section(title, {"rate": "acknowledged/s", "cpu": "CPU us/message", **CORES})
    with rabbitmq() as broker, twbridge(broker) as ours:
        subjects: list[Acknowledging] = [JsonAcks(ours), StompAcks(broker)]
        for _ in range(plan.turns):
            for subject in subjects:
                run = run_acks(subject, broker, 8, plan.seconds)
                section.of(subject.name).add(rate=run.rate, cpu=run.cpu, **run.cores)
                say(f"{title}: {subject.name}: {run}")
    ratio = section.ratio("rate", OURS, STOMP)
    section.claims.append(Claim(f"Acknowledged/s, twbridge / {STOMP}", ratio, "at least", 1))
    return {"acks": section}


def stream(plan: Plan) -> dict[str, Section]:
    """Messages a second of one client that reads a stream from its beginning."""
    title = f"Catching up with a stream: {plan.stream:,} messages"
    section = Section(title, {"rate": "messages/s", "cpu": "CPU us/message", **CORES})
    messages, prefetch = plan.stream, STREAM_PREFETCH
    with rabbitmq() as broker, twbridge(broker) as ours, filled_stream(broker, messages):
        check_stream(ours, messages, prefetch)
        for _ in range(plan.turns):
            for name, run in (
                (OURS, run_bridge(ours, broker, messages, prefetch)),
                (PIKA, run_pika(broker, messages, prefetch, 1)),
                (PIKA_BY_50, run_pika(broker, messages, prefetch, prefetch // 2)),
            ):
                section.of(name).add(rate=run.rate, cpu=run.cpu, **run.cores)
                say(f"{title}: {name}: {run}")
    for rival in (PIKA, PIKA_BY_50):
        ratio = section.ratio("rate", OURS, rival)
        section.claims.append(Claim(f"Messages/s, twbridge / {rival}", ratio, "at least", 0.5))
    return {"stream": section}


def deflate(plan: Plan) -> dict[str, Section]:
    """Bytes on the wire and CPU for a broadcast, plain and compressed."""
    title = f"Compression: a JSON message of {len(EVENT)} bytes to {AUDIENCE} clients"
    units = {
        "bytes": "bytes of a frame",
        "cpu": "CPU us/message, to all",
        "rate": "messages/s",
        **CORES,
    }
    section = Section(title, units)
    with rabbitmq() as broker:
        calls = count_compressions(broker, AUDIENCE, 1000)
        say(f"{title}: {calls} calls of zlib for a message")
        with twbridge(broker) as plain, twbridge(broker, "bench.deflate", deflate=True) as other:
            for _ in range(plan.turns):
                for subject in (
                    JsonDialect(plain, label=PLAIN),
                    JsonDialect(other, deflate=True, label=DEFLATED),
                ):
                    run = run_fanout(subject, broker, AUDIENCE, plan.seconds, EVENT)
                    section.of(subject.name).add(
                        bytes=run.frame,
                        cpu=run.cpu * AUDIENCE,
                        rate=run.rate / AUDIENCE,
                        **run.cores,
                    )
                    say(f"{title}: {subject.name}: {run}")
    ratio = section.ratio("bytes", DEFLATED, PLAIN)
    section.claims.append(Claim("Bytes, compressed / plain", ratio, "at most", 0.75))
    cost = section.of(DEFLATED).median("cpu") - section.of(PLAIN).median("cpu")
    section.claims.append(Claim("CPU for a message more than plain", cost, "at most", 25, "us"))
    text = "Calls of zlib for a message, counted by a profiler"
    section.claims.append(Claim(text, calls, "at most", 1, "calls"))
    return {"deflate": section}


def stalled(plan: Plan) -> dict[str, Section]:
    """What the others notice of one client that reads nothing."""
    audience = f"{plan.audience - 1:,} JSON clients beside a stalled one"
    title = f"Latency of {audience}: 4 KiB, {STALLED_RATE} messages/s"
    section = Section(title, {"p99": "p99 ms", "cpu": "CPU us/delivery", "grown": "MB grown"})
    with rabbitmq() as broker, twbridge(broker, send_buffer=SEND_BUFFER) as ours:
        for _ in range(plan.turns):
            run = run_stalled(ours, broker, plan.audience, STALLED_RATE, plan.seconds + 2)
            for name, phase in ((READING, run.before), (STALLED, run.behind)):
                section.of(name).add(p99=phase.p99, cpu=phase.cpu, others=phase.others)
            section.of(STALLED).add(grown=run.grown / 2**20)
            say(f"{title}: {run}")
    ratio = section.ratio("p99", STALLED, READING)
    section.claims.append(Claim("p99, with / without the stalled one", ratio, "at most", 1.2))
    grown = max(section.of(STALLED).figures["grown"])
    text = f"Memory grown with it, send_buffer {SEND_BUFFER >> 10} KiB"
    section.claims.append(Claim(text, grown, "at most", 2, "MB"))
    return {"stalled": section}
