"""A broker that refuses us, and TLS that does not verify: told in plain words, tried slowly."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from tests.certificates import Authority
from tests.integration.cases import BrokerCase, pause
from tests.integration.rabbitmq import in_thread
from twbridge.amqp import Queue
from twbridge.errors import NotReady, SettingsError
from twbridge.wire import Delivery


class RefusalTests(BrokerCase):
    async def test_a_wrong_password_is_403_in_the_brokers_words_and_tried_again_slowly(
        self,
    ) -> None:
        proxy = await self.proxy()
        user = f"user-{uuid.uuid4()}"
        link = self.link(f"amqp://{user}:wrong-Zq9@127.0.0.1:{proxy.port}/%2F", reconnect_cap=0.5)
        await self.until(lambda: "ACCESS_REFUSED" in link.state_description)
        self.assertEqual(link.state, "connecting")
        self.assertIn("403", link.state_description)
        self.assertNotIn("wrong-Zq9", link.state_description)
        before, begin = proxy.accepted, time.monotonic()
        await pause(1.5)
        # Two connections, each at least half of four times the cap apart.
        self.assertLessEqual(proxy.accepted - before, 2 * (1 + (time.monotonic() - begin) // 1.0))
        await in_thread(self.node.ctl, "add_user", user, "wrong-Zq9")
        self.addCleanup(lambda: in_thread(self.node.ctl, "delete_user", user))
        await in_thread(self.node.ctl, "set_permissions", user, ".*", ".*", ".*")
        await self.state(link, "ready")

    async def test_a_missing_vhost_is_530_in_the_brokers_words(self) -> None:
        vhost = f"vhost-{uuid.uuid4()}"
        link = self.link(self.node.url(vhost))
        await self.until(lambda: vhost in link.state_description)
        self.assertEqual(link.state, "connecting")
        self.assertIn("530", link.state_description)
        await in_thread(self.node.ctl, "add_vhost", vhost)
        self.addCleanup(lambda: in_thread(self.node.ctl, "delete_vhost", vhost))
        await in_thread(self.node.ctl, "set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        await self.state(link, "ready")
        await link.stop()

    async def test_the_other_mechanisms(self) -> None:
        link = await self.ready(self.node.url(query="auth_mechanism=amqplain"))
        await link.publish("amq.topic", "k", b"")
        refused = self.link(self.node.url(query="auth_mechanism=external"))
        await self.until(lambda: "EXTERNAL" in refused.state_description)

    async def test_a_port_that_speaks_something_else(self) -> None:
        proxy = await self.proxy(self.node.ports["epmd"])
        link = self.link(self.url_of(proxy, query="connection_timeout=300"), timeout=0.5)
        await self.failure(link.publish("", "q", b""), NotReady)
        self.assertEqual(link.state, "connecting")


class TlsTests(BrokerCase):
    async def test_a_verified_connection_carries_messages(self) -> None:
        link = await self.ready(self.node.tls_url())
        queue = await self.queue()
        got: list[Delivery] = []
        await link.consume(Queue(queue, passive=True), got.append, no_ack=True)
        body = bytes(range(256)) * 4096
        await link.publish("", queue, body, mandatory=True)
        await self.until(lambda: got)
        self.assertTrue(got[0].body == body)

    async def test_a_client_certificate_is_accepted(self) -> None:
        assert self.node.authority is not None
        certificate, key = self.node.authority.issue("client", ())
        query = f"cacertfile={self.node.authority.ca}&certfile={certificate}&keyfile={key}"
        await self.ready(self.node.tls_url(query))

    async def test_an_unknown_ca_is_refused_with_a_reason_and_nothing_is_sent(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        other = Authority(folder, "another CA").ca
        for query in ("verify=verify_peer", f"cacertfile={other}"):
            link = self.link(self.node.tls_url(query))
            waiting = link.publish("", "q", b"", timeout=1.0)
            await self.until(lambda link=link: "certificate" in link.state_description)  # type: ignore[misc]
            self.assertIn("verify failed", link.state_description)
            await self.failure(waiting, NotReady)
            self.assertEqual(link.state, "connecting")
            await link.stop()
        await self.ready(self.node.tls_url("verify=verify_none"))

    async def test_a_certificate_for_another_host_is_refused_with_a_reason(self) -> None:
        assert self.node.authority is not None
        query = f"cacertfile={self.node.authority.ca}&server_name_indication=other.test"
        link = self.link(self.node.tls_url(query))
        await self.until(lambda: "other.test" in link.state_description)
        self.assertEqual(link.state, "connecting")

    async def test_a_missing_certificate_file_is_a_settings_error_at_once(self) -> None:
        with self.assertRaisesRegex(SettingsError, "/nowhere/ca.pem can't be read"):
            self.link(self.node.tls_url("cacertfile=/nowhere/ca.pem"))
