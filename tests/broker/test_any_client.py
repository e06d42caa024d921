"""Whatever clients send, in whatever order: no error of ours, no message lost count of."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.broker.client import Client
from twbridge import wire
from twbridge.broker.exchanges import AnyQueue
from twbridge.broker.messages import Message
from twbridge.broker.streams import Stream

Basic, Exchange, Queue = commands.Basic, commands.Exchange, commands.Queue

names = st.sampled_from(["q", "r", "s"])
exchanges = st.sampled_from(["", "x", "amq.topic", "amq.fanout"])
keys = st.sampled_from(["q", "r", "s", "a.b", "#"])
flags = st.booleans()
tags = st.integers(0, 6)
lengths = st.sampled_from(
    [
        {},
        {"x-max-length": 2},
        {"x-max-length": 1, "x-overflow": "reject-publish"},
        {"x-expires": 1000},
    ]
)
retentions = st.sampled_from(
    [
        {"x-queue-type": "stream"},
        {"x-queue-type": "stream", "x-max-age": "1s"},
        {"x-queue-type": "stream", "x-max-length-bytes": 9},
    ]
)
starts = st.sampled_from([{}, {"x-stream-offset": "first"}, {"x-stream-offset": 2}])

methods = st.one_of(
    st.builds(
        Queue.Declare,
        queue=names,
        exclusive=flags,
        auto_delete=flags,
        arguments=lengths,
    ),
    st.builds(Queue.Declare, queue=st.just("s"), durable=st.just(True), arguments=retentions),
    st.builds(Queue.Bind, queue=names, exchange=exchanges, routing_key=keys),
    st.builds(Queue.Unbind, queue=names, exchange=exchanges, routing_key=keys),
    st.builds(Queue.Delete, queue=names, if_unused=flags, if_empty=flags),
    st.builds(Queue.Purge, queue=names),
    st.builds(Exchange.Declare, exchange=exchanges, exchange_type=st.just("topic")),
    st.builds(Exchange.Bind, destination=exchanges, source=exchanges, routing_key=keys),
    st.builds(Exchange.Unbind, destination=exchanges, source=exchanges, routing_key=keys),
    st.builds(Exchange.Delete, exchange=exchanges, if_unused=flags),
    st.builds(Basic.Qos, prefetch_count=st.integers(0, 3), global_=flags),
    st.builds(Basic.Consume, queue=names, no_ack=flags, exclusive=flags),
    st.builds(Basic.Consume, queue=st.just("s"), arguments=starts),
    st.builds(Basic.Get, queue=names, no_ack=flags),
    st.builds(Basic.Reject, delivery_tag=tags, requeue=flags),
    st.builds(Basic.Recover, requeue=st.just(True)),
    st.builds(commands.Confirm.Select),
    st.builds(commands.Channel.Close, st.just(200), st.just(""), st.just(0), st.just(0)),
    st.builds(commands.Channel.CloseOk),
    st.builds(commands.Channel.Open),
).map(lambda method: wire.method_frame(1, method))
others = st.one_of(
    st.builds(wire.ack_frame, st.just(1), tags, flags),
    st.builds(wire.nack_frame, st.just(1), tags, flags, flags),
    st.builds(
        wire.publish_frames,
        st.just(1),
        exchanges,
        keys,
        st.just(b"\0\0"),
        st.binary(max_size=3),
        flags,
        st.just(0),
    ),
)
sent = st.one_of(methods, others)
steps = st.one_of(sent, st.sampled_from([None, "second"]))


def messages(queue: AnyQueue) -> list[Message]:
    """All that it keeps."""
    if isinstance(queue, Stream):
        return queue.log.read(0, 1000, 1_000_000)[1]
    return [entry.message for entry in queue.ready]


class AnyClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.failures: list[LogEvent] = []
        observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.failures.append(event)

    @settings(max_examples=200)
    @given(st.lists(st.tuples(st.integers(0, 1), steps), max_size=60))
    def test_every_message_is_counted_to_its_end(self, steps: list[tuple[int, Any]]) -> None:
        clients = [Client()]
        vhost, clock = clients[0].vhost, clients[0].clock
        clients.append(Client(vhost))
        for which, data in steps:
            client = clients[which]
            if data == "second":
                clock.advance(1)
            elif data is None or client.closed or client.log:
                client.connection.lost()
                clients[which] = Client(vhost)
            else:
                client.send(data)
        for client in clients:
            client.connection.lost()
        self.assertEqual(self.failures, [])
        waiting = {id(one): one for queue in vhost.queues.values() for one in messages(queue)}
        self.assertEqual(vhost.memory.used, sum(one.cost for one in waiting.values()))
        for queue in list(vhost.queues.values()):
            self.assertEqual((queue.owner, list(queue.consumers)), (None, []))
            vhost.delete_queue(queue)
        self.assertEqual(vhost.memory.used, 0)
        self.assertEqual(vhost.exchanges[""].bindings, {})
        self.assertEqual(clock.getDelayedCalls(), [])

    @settings(max_examples=200)
    @given(st.lists(st.one_of(st.binary(max_size=40), sent), max_size=20))
    def test_any_bytes_are_answered_in_words(self, pieces: list[bytes]) -> None:
        client = Client()
        for piece in pieces:
            client.send(piece)
        self.assertEqual(self.failures, [])
