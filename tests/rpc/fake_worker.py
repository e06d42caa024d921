"""A worker of a few lines over a link: what a caller sees of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from twbridge.amqp import Consumer, Exchange, Link, Queue
from twbridge.errors import LinkError
from twbridge.rpc.messages import (
    DLX,
    Accepted,
    Cancel,
    Failed,
    Progress,
    Request,
    Result,
    dead_queue,
    read_control,
    read_request,
    reply_properties,
    task_queue,
)
from twbridge.rpc.serializers import Serializers

__all__ = ["FakeWorker"]


class FakeWorker:
    """Serves tasks as its test says.

    Attributes:
        requests: what came, in order.
        cancels: the ids that were cancelled.
        control: the name of its control queue.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.requests: list[Request] = []
        self.cancels: list[Cancel] = []
        self.tags: dict[str, int] = {}
        self.consumers: dict[str, Consumer] = {}
        self.serializers = Serializers(pickle=True)
        self._control: Consumer | None = None

    @property
    def control(self) -> str:
        assert self._control is not None
        return self._control.queue_name

    async def listen(self) -> None:
        """Have a control queue."""
        self._control = await self.link.consume(Queue(), self._controlled, no_ack=True)

    async def declare(self, *names: str) -> None:
        """Have queues for tasks, without consuming them."""
        await self.link.declare(Exchange(DLX, "headers"))
        for name in names:
            await self.link.declare(self.queue(name), remember=False)

    async def serve(
        self, name: str, answer: Callable[[Request], object] = lambda _: None, prefetch: int = 200
    ) -> None:
        """Call ``answer`` with each request; a request is acknowledged by what answers it."""
        await self.declare(name)

        def delivered(delivery: Any) -> None:
            request = read_request(delivery)
            self.requests.append(request)
            self.tags[request.id] = delivery.delivery_tag
            answer(request)

        consuming = self.link.consume(self.queue(name), delivered, prefetch=prefetch)
        self.consumers[name] = await consuming

    async def delete(self, names: list[str]) -> None:
        """Have no queues for these tasks any more."""
        for name in names:
            passive = Queue(task_queue(name), True, False, False, passive=True)
            consumer = await self.link.consume(passive, lambda _: None, prefetch=1)
            await consumer.cancel(delete=True)

    def queue(self, name: str) -> Queue:
        arguments = {"x-max-priority": 10, "x-dead-letter-exchange": DLX}
        return Queue(task_queue(name), True, False, False, arguments)

    def dead(self, name: str) -> str:
        return dead_queue(name)

    def _controlled(self, delivery: Any) -> None:
        control = read_control(delivery)
        assert isinstance(control, Cancel)
        self.cancels.append(control)

    # -- answers ----------------------------------------------------------------------------

    def send(self, request: Request, reply: Any) -> Deferred[None]:
        properties, body = reply_properties(reply)
        assert request.reply_to is not None
        sent = self.link.publish("", request.reply_to, body, properties)
        return sent.addErrback(lambda failure: failure.trap(LinkError) and None)

    def accept(self, request: Request) -> Deferred[None]:
        return self.send(request, Accepted(request.id, "w1", self.control))

    def progress(self, request: Request, number: int, value: Any) -> Deferred[None]:
        body = self.serializers.encode(value)
        return self.send(request, Progress(request.id, "w1", number, body))

    def result(self, request: Request, value: Any, **headers: Any) -> Deferred[None]:
        body = self.serializers.encode(value)
        self.ack(request)
        return self.send(request, Result(request.id, "w1", body, headers))

    def echo(self, request: Request) -> Deferred[None]:
        return self.result(request, self.serializers.decode(request.body))

    def failed(self, request: Request, kind: Any, type: str, text: str) -> Deferred[None]:
        self.ack(request)
        return self.send(request, Failed(request.id, "w1", kind, type, text))

    def ack(self, request: Request) -> None:
        consumer, tag = self.consumers.get(request.task), self.tags.pop(request.id, None)
        if consumer is not None and tag is not None:
            consumer.ack(tag)

    def reject(self, request: Request) -> None:
        self.consumers[request.task].nack(self.tags.pop(request.id), requeue=False)
