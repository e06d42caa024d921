"""Connecting, being refused, being thrown out, and coming back: the link on a real RabbitMQ."""

from __future__ import annotations

import uuid
from itertools import pairwise

from twisted.internet import reactor

from tests.integration.cases import BrokerCase, outcomes, pause
from tests.integration.proxy import Way
from tests.integration.rabbitmq import free_ports, in_thread
from twbridge.amqp import Exchange, Link, LinkOptions, Queue, parse
from twbridge.errors import (
    ConnectionClosed,
    NotReady,
    OutcomeUnknown,
    ProtocolClosed,
)
from twbridge.wire import Delivery


class StateTests(BrokerCase):
    async def test_the_states_and_callbacks_of_a_whole_life(self) -> None:
        proxy = await self.proxy()
        link = Link(reactor, parse(self.url_of(proxy)), options=LinkOptions(reconnect_cap=0.1))
        self.addCleanup(link.stop)
        seen: list[object] = []
        link.on_state(seen.append)
        link.on_ready(lambda: seen.append("on_ready"))
        link.on_unavailable(seen.append)
        self.assertEqual((link.state, link.closable), ("idle", False))
        link.start()
        self.assertEqual((link.state, link.closable), ("connecting", True))
        await self.state(link, "ready")
        self.assertTrue(link.closable)
        proxy.reset()
        await self.until(lambda: link.state != "ready")
        await self.state(link, "ready")
        ended = link.stop()
        self.assertEqual((link.state, link.closable), ("closing", False))
        await ended
        self.assertEqual((link.state, link.closable), ("closed", False))
        reason = seen.pop(4)
        self.assertIsInstance(reason, ConnectionClosed)
        self.assertEqual(
            seen,
            [*("connecting", "ready", "on_ready") * 2, "closing", "closed"],
        )

    async def test_it_can_be_started_again(self) -> None:
        link = await self.ready()
        await link.stop()
        await self.failure(link.publish("amq.topic", "k", b""), NotReady)
        link.start()
        await self.state(link, "ready")
        await link.publish("amq.topic", "k", b"")

    async def test_a_stop_while_connecting_is_the_end_of_it(self) -> None:
        proxy = await self.proxy()
        proxy.stall(Way.DOWN)
        link = self.link(self.url_of(proxy))
        waiting = link.publish("", "q", b"")
        await self.until(lambda: proxy.accepted == 2)
        await link.stop()
        await self.failure(waiting, NotReady)
        self.assertEqual(link.state, "closed")
        proxy.resume()
        await self.until(lambda: not proxy.pairs)
        await pause(0.6)
        self.assertEqual(proxy.accepted, 2)

    async def test_a_link_that_never_started_can_be_stopped(self) -> None:
        await Link(reactor, parse(self.node.url())).stop()

    async def test_it_gives_up_after_so_many_attempts_if_asked_to(self) -> None:
        proxy = await self.proxy(free_ports(1)[0])
        link = self.link(self.url_of(proxy), connection_attempts=3, reconnect_cap=0.05)
        waiting = link.publish("", "q", b"")
        await self.state(link, "closed")
        await self.failure(waiting, NotReady)
        accepted = proxy.accepted
        self.assertTrue(3 <= accepted <= 6, f"{accepted} attempts of two connections")
        await pause(0.3)
        self.assertEqual(proxy.accepted, accepted)

    async def test_what_the_broker_is_told_about_us(self) -> None:
        name = f"link-{uuid.uuid4()}"
        await self.ready(self.node.url(query="heartbeat=7"), name=name)
        rows = await in_thread(self.node.list, "connections", "client_properties", "timeout")
        mine = [
            ({each[0]: each[2] for each in row["client_properties"]}, row["timeout"])
            for row in rows
            if any(str(each[2]).startswith(name) for each in row["client_properties"])
        ]
        self.assertEqual(len(mine), 2)
        for properties, heartbeat in mine:
            self.assertEqual(heartbeat, 7)
            self.assertEqual(properties["product"], "twbridge")
            announced = {each[0] for each in properties["capabilities"] if each[2]}
            self.assertEqual(
                announced,
                {
                    "publisher_confirms",
                    "consumer_cancel_notify",
                    "basic.nack",
                    "connection.blocked",
                    "authentication_failure_close",
                    "exchange_exchange_bindings",
                },
            )


class ReconnectTests(BrokerCase):
    async def test_topology_and_consumers_are_there_again(self) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy))
        exchange = Exchange(f"test.{uuid.uuid4()}", durable=False, auto_delete=True)
        await link.declare(exchange)
        queue = await self.queue()
        got: list[Delivery] = []
        live = await link.consume(Queue(), got.append, no_ack=True)
        for number in range(20):
            await live.bind(exchange.name, f"k.{number}.#")
        await live.bind(exchange.name, "taken back")
        await live.unbind(exchange.name, "taken back")
        await link.consume(Queue(queue, passive=True), got.append, no_ack=True)
        before = live.queue_name
        for _ in range(2):
            proxy.reset()  # the exchange and the exclusive queue are gone with the connection
            await self.until(lambda: link.state != "ready")
            await self.state(link, "ready")
            self.assertNotEqual(live.queue_name, before)
            got.clear()
            await link.publish(exchange.name, "k.7.x", b"live", mandatory=True)
            await link.publish(exchange.name, "taken back", b"nobody")
            await link.publish("", queue, b"queue", mandatory=True)
            await self.until(lambda: len(got) >= 2)
            self.assertEqual(sorted(each.body for each in got), [b"live", b"queue"])

    async def test_a_thousand_bindings_are_replayed_pipelined(self) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy))
        got: list[str] = []
        live = await link.consume(Queue(), lambda each: got.append(each.routing_key), no_ack=True)
        await outcomes([live.bind("amq.topic", f"k.{number}") for number in range(1000)])
        said: list[tuple[int, Way]] = []
        proxy.tap = lambda number, way, _: said.append((number, way))
        proxy.latency = 0.005
        proxy.reset()
        await self.until(lambda: link.state != "ready")
        await self.state(link, "ready")
        turns = sum(one != other for one, other in pairwise(said))
        self.assertLess(turns, 500, "one by one, there are two thousand of them")
        await link.publish("amq.topic", "k.999", b"", mandatory=True)
        await self.until(lambda: got == ["k.999"])

    async def test_a_name_that_the_broker_still_holds_for_our_dead_connection_is_told(
        self,
    ) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy, query="heartbeat=1"))
        name = f"test.{uuid.uuid4()}"
        ends: list[ProtocolClosed] = []
        got: list[bytes] = []
        await link.consume(
            Queue(name), lambda each: got.append(each.body), no_ack=True, on_end=ends.append
        )
        await link.publish("", name, b"one", mandatory=True)
        await self.until(lambda: got == [b"one"])
        proxy.forsake()
        await self.until(lambda: link.state != "ready")
        await self.state(link, "ready")
        await self.until(lambda: ends)
        self.assertEqual([(end.reply_code, end.code) for end in ends], [(405, "conflict")])
        for _ in range(50):  # until the broker has missed two heartbeats
            await pause(0.1)
            (refused,) = await outcomes([link.consume(Queue(name), lambda _: None)])  # type: ignore[list-item]
            if refused is None:
                break
            self.assertEqual(refused.reply_code, 405)
        await link.publish("", name, b"two", mandatory=True)
        self.assertEqual((got, len(ends)), ([b"one"], 1))

    async def test_what_is_asked_for_while_down_is_done_when_up(self) -> None:
        proxy = await self.proxy()
        await proxy.refuse()
        link = self.link(self.url_of(proxy))
        got: list[Delivery] = []
        name = f"test.{uuid.uuid4()}"
        declared = link.declare(Exchange(name, durable=False, auto_delete=True))
        consuming = link.consume(Queue(), got.append, no_ack=True)
        await pause(0.2)
        self.assertFalse(consuming.called)
        proxy.accept()
        consumer = await consuming
        await declared
        await consumer.bind(name, "#")
        await link.publish(name, "k", b"x", mandatory=True)
        await self.until(lambda: len(got) == 1)

    async def test_a_consumer_that_waits_too_long_is_not_ready(self) -> None:
        proxy = await self.proxy()
        await proxy.refuse()
        link = self.link(self.url_of(proxy), timeout=0.3)
        await self.failure(link.consume(Queue(), lambda _: None), NotReady)

    async def test_a_connection_cut_in_the_middle_of_a_frame(self) -> None:
        proxy = await self.proxy()
        link = await self.ready(self.url_of(proxy))
        queue = await self.queue()
        got: list[bytes] = []

        def take(delivery: Delivery) -> None:
            got.append(delivery.body)
            consumer.ack(delivery.delivery_tag)

        consumer = await link.consume(Queue(queue, passive=True), take)
        await link.publish("", queue, b"opens the channel")
        for way, letter in ((Way.DOWN, b"d"), (Way.UP, b"u")):
            accepted = proxy.accepted
            proxy.cut_after(3000, way)
            first = await outcomes([link.publish("", queue, letter * 5000)])
            await self.until(lambda accepted=accepted: proxy.accepted > accepted)  # type: ignore[misc]
            if first != [None]:
                self.assertIsInstance(first[0], OutcomeUnknown)
                await link.publish("", queue, letter * 5000)
            await self.until(lambda letter=letter: letter * 5000 in got)  # type: ignore[misc]
        # What was cut off may have come twice; all that came is whole.
        self.assertEqual(set(got), {b"opens the channel", b"d" * 5000, b"u" * 5000})

    async def test_an_operator_closing_all_connections_is_320_and_it_comes_back(self) -> None:
        link = await self.ready()
        reasons: list[Exception] = []
        link.on_unavailable(reasons.append)
        await in_thread(self.node.ctl, "close_all_connections", "--global", "tests: why not")
        await self.until(lambda: reasons)
        (reason,) = reasons
        assert isinstance(reason, ConnectionClosed)
        self.assertEqual((reason.reply_code, reason.code), (320, "not_ready"))
        self.assertIn("tests: why not", reason.reply_text)
        await self.state(link, "ready")
        await link.publish("amq.topic", "k", b"")


class HostsTests(BrokerCase):
    async def test_a_host_that_is_down_is_passed_over(self) -> None:
        dead = await self.proxy()
        await dead.refuse()
        alive = await self.proxy()
        link = await self.ready(self.url_of(dead, alive))
        self.assertEqual((dead.accepted, alive.accepted), (0, 2))
        await link.publish("amq.topic", "k", b"")

    async def test_when_one_goes_the_next_takes_over_and_back(self) -> None:
        one, two = await self.proxy(), await self.proxy()
        link = await self.ready(self.url_of(one, two))
        for going, coming in ((one, two), (two, one)):
            before = coming.accepted
            coming.accept()
            await going.refuse()
            going.reset()
            took = await self.until(lambda: link.state != "ready")
            took += await self.state(link, "ready")
            self.assertLess(took, 3.0)
            self.assertGreaterEqual(coming.accepted, before + 2)
            await link.publish("amq.topic", "k", b"")

    async def test_a_host_that_accepts_and_says_nothing_is_passed_over(self) -> None:
        mute, alive = await self.proxy(), await self.proxy()
        mute.stall(Way.DOWN)
        link = self.link(self.url_of(mute, alive, query="connection_timeout=300"))
        await self.state(link, "ready", 5.0)
        await link.publish("amq.topic", "k", b"")
