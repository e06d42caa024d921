"""Logins with users of a real RabbitMQ, of the embedded broker, and of a file."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

import bcrypt
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.integration.cases import BrokerCase, pause
from tests.integration.proxy import Way
from tests.integration.rabbitmq import free_ports, in_thread
from twbridge.amqp import parse
from twbridge.auth import checker
from twbridge.auth.logins import Logins
from twbridge.broker import EmbeddedBroker
from twbridge.errors import NotReady, Unauthenticated
from twbridge.link.login import NAME
from twbridge.settings import Auth, Settings

PASSWORD = "pass: wörd / %00"


class BrokerAuthCase(BrokerCase):
    """A user of this test's own on the shared node."""

    async def user(self, *, vhost: str | None = "/") -> str:
        """A new user, with access to a virtual host; deleted at the end."""
        name = f"test.{uuid.uuid4()}"
        await in_thread(self.node.ctl, "add_user", "--", name, PASSWORD)
        self.addCleanup(lambda: in_thread(self.node.ctl, "delete_user", name))
        if vhost is not None:
            await in_thread(self.node.ctl, "set_permissions", "-p", vhost, name, "", "", "")
        return name

    def logins(self, url: str | None = None, **options: Any) -> Logins:
        """The Checker of ``--auth amqp``; nothing of it is left at the end."""
        chosen: Any = {"method": "amqp", "timeout": 5.0} | options
        auth = Auth(**chosen)
        found = checker(Settings(auth=auth), reactor, parse(url or self.node.url()))
        assert found is not None
        self.addCleanup(lambda: Deferred.fromCoroutine(self.until(lambda: not found.busy)))
        return found

    async def refused(self, logins: Logins, user: str, password: str) -> None:
        error = await self.failure(logins.check(user, password), Unauthenticated)
        self.assertEqual(error.public, "The user name or the password is wrong.")

    async def not_ready(self, logins: Logins, user: str) -> str:
        error = await self.failure(logins.check(user, PASSWORD), NotReady)
        self.assertNotIn(PASSWORD, str(error))
        return str(error)


class BrokerAuthTests(BrokerAuthCase):
    async def test_a_user_of_the_broker_is_one(self) -> None:
        user, logins = await self.user(), self.logins()
        self.assertEqual(await logins.check(user, PASSWORD), user)
        await self.refused(logins, user, PASSWORD.upper())
        await self.refused(logins, f"{user}x", PASSWORD)
        while NAME in json.dumps(
            await in_thread(self.node.list, "connections", "client_properties")
        ):
            pass  # until the broker, too, is done with them

    async def test_the_mechanism_of_the_bridge_is_no_matter(self) -> None:
        user = await self.user()
        for mechanism in ("amqplain", "external"):
            logins = self.logins(self.node.url(query=f"auth_mechanism={mechanism}"))
            self.assertEqual(await logins.check(user, PASSWORD), user)
            await self.refused(logins, user, "other")

    async def test_by_tls(self) -> None:
        user, logins = await self.user(), self.logins(self.node.tls_url())
        self.assertEqual(await logins.check(user, PASSWORD), user)
        await self.refused(logins, user, "other")

    async def test_the_longest_name_and_password_are_answered(self) -> None:
        logins = self.logins()
        await self.refused(logins, "x" * 255, "y" * 1024)

    async def test_a_user_without_access_to_the_virtual_host_is_refused(self) -> None:
        user = await self.user(vhost=None)
        await self.refused(self.logins(), user, PASSWORD)

    async def test_a_virtual_host_that_is_gone_is_not_the_user(self) -> None:
        user = await self.user()
        text = await self.not_ready(self.logins(self.node.url("nowhere")), user)
        self.assertIn("vhost nowhere not found", text)

    async def test_limits_of_the_broker_refuse_for_now(self) -> None:
        vhost = f"test.{uuid.uuid4()}"
        await in_thread(self.node.ctl, "add_vhost", vhost)
        self.addCleanup(lambda: in_thread(self.node.ctl, "delete_vhost", vhost))
        user = await self.user(vhost=vhost)
        logins = self.logins(self.node.url(vhost))
        none = '{"max-connections": 0}'
        await in_thread(self.node.ctl, "set_vhost_limits", "-p", vhost, none)
        self.assertIn("limit", await self.not_ready(logins, user))
        await in_thread(self.node.ctl, "clear_vhost_limits", "-p", vhost)
        await in_thread(self.node.ctl, "set_user_limits", user, none)
        self.assertIn("limit", await self.not_ready(logins, user))
        await in_thread(self.node.ctl, "clear_user_limits", user, "max-connections")
        self.assertEqual(await logins.check(user, PASSWORD), user)

    async def test_guest_is_for_this_machine(self) -> None:
        logins = self.logins()
        await self.failure(logins.check("guest", "guest"), Unauthenticated)
        self.assertEqual(await logins.check("guest", "guest", local=True), "guest")

    async def test_an_old_password_is_good_for_as_long_as_it_is_remembered(self) -> None:
        user, logins = await self.user(), self.logins(remember=1.5)
        await logins.check(user, PASSWORD)
        begin = time.monotonic()
        await in_thread(self.node.ctl, "change_password", "--", user, "new")
        try:
            self.assertEqual(await logins.check(user, PASSWORD), user)
        except Unauthenticated:
            # rabbitmqctl took too long for it to be remembered still.
            self.assertGreater(time.monotonic() - begin, 1.4)
        self.assertEqual(await logins.check(user, "new"), user)
        await pause(max(0.0, 1.6 - (time.monotonic() - begin)))
        await self.refused(logins, user, PASSWORD)

    async def test_a_storm_of_one_account_is_one_connection(self) -> None:
        proxy = await self.proxy()
        user, logins = await self.user(), self.logins(self.url_of(proxy))
        for _ in range(2):
            found = await gatherResults([logins.check(user, PASSWORD) for _ in range(1000)])
            self.assertEqual(set(found), {user})
        self.assertEqual(proxy.accepted, 1)

    async def test_a_storm_of_wrong_logins_is_so_many_connections_at_a_time(self) -> None:
        proxy = await self.proxy()
        logins = self.logins(self.url_of(proxy), parallel=3)
        answers = [logins.check(f"nobody{each}", "x") for each in range(30)]
        most = 0
        while logins.busy:
            most = max(most, len(proxy.pairs))
            await pause(0.002)
        for each in answers:
            await self.failure(each, Unauthenticated)
        self.assertEqual(proxy.accepted, 30)
        self.assertLess(most, 10)  # some are being closed by the proxy


class AwayTests(BrokerAuthCase):
    async def test_a_broker_that_is_away_refuses_nobody(self) -> None:
        logins = self.logins(f"amqp://127.0.0.1:{free_ports(1)[0]}")
        self.assertIn("refused", await self.not_ready(logins, "alice"))

    async def test_a_broker_that_is_silent_refuses_nobody_in_time(self) -> None:
        proxy = await self.proxy()
        user, logins = await self.user(), self.logins(self.url_of(proxy), timeout=0.5)
        proxy.stall(Way.DOWN)
        begin = time.monotonic()
        await self.not_ready(logins, user)
        self.assertLess(time.monotonic() - begin, 5.0)
        proxy.resume()
        # Half a second may be too short for a login where the machine is busy: then once more.
        found = None
        while found is None:
            with contextlib.suppress(NotReady):
                found = await logins.check(user, PASSWORD)
        self.assertEqual(found, user)

    async def test_the_other_node_of_a_cluster_is_asked(self) -> None:
        user = await self.user()
        url = f"amqp://127.0.0.1:{free_ports(1)[0]},127.0.0.1:{self.node.port}"
        self.assertEqual(await self.logins(url).check(user, PASSWORD), user)


class EmbeddedAuthTests(TestCase):
    timeout = 20

    async def test_the_embedded_broker_knows_its_users(self) -> None:
        broker = EmbeddedBroker(reactor, users={"guest": "guest", "alice": PASSWORD})
        await broker.listen("127.0.0.1", 0)
        self.addCleanup(broker.stop)
        logins = checker(Settings(auth=Auth(method="amqp")), reactor, parse(broker.url))
        assert logins is not None
        self.assertEqual(await logins.check("alice", PASSWORD), "alice")
        self.assertEqual(await logins.check("guest", "guest", local=True), "guest")
        for user, password in (("alice", "x"), ("bob", PASSWORD), ("guest", "guest")):
            with self.assertRaises(Unauthenticated):
                await logins.check(user, password)


class FileAuthTests(TestCase):
    """In real threads."""

    timeout = 20

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.write(alice=PASSWORD)

    def write(self, **users: str) -> None:
        lines = (
            f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(8)).decode()}\n"
            for name, password in users.items()
        )
        self.path.write_text("".join(lines))

    def logins(self, **options: Any) -> Logins:
        auth = Auth(method="file", file=self.path, **options)
        found = checker(Settings(auth=auth), reactor)
        assert found is not None
        return found

    async def refused(self, logins: Logins, user: str, password: str) -> None:
        with self.assertRaises(Unauthenticated):
            await logins.check(user, password)

    async def test_a_user_of_the_file_is_one(self) -> None:
        logins = self.logins()
        self.assertEqual(await logins.check("alice", PASSWORD), "alice")
        await self.refused(logins, "alice", "other")
        await self.refused(logins, "bob", PASSWORD)

    async def test_a_change_of_the_file_ends_what_was_remembered(self) -> None:
        logins = self.logins()
        await logins.check("alice", PASSWORD)
        self.write(alice="new", bob=PASSWORD)
        await self.refused(logins, "alice", PASSWORD)
        self.assertEqual(await logins.check("alice", "new"), "alice")
        self.assertEqual(await logins.check("bob", PASSWORD), "bob")

    async def test_who_does_not_exist_takes_as_long(self) -> None:
        logins = self.logins(remember=0)
        shortest: dict[str, float] = {}
        for attempt in range(10):
            for user in ("alice", "nobody"):
                begin = time.perf_counter()
                await self.refused(logins, user, f"wrong{attempt}")
                took = time.perf_counter() - begin
                shortest[user] = min(took, shortest.get(user, took))
        # The hash takes 15 ms and more, everything else a fraction of one.
        self.assertGreater(shortest["nobody"], shortest["alice"] / 2)
        self.assertGreater(shortest["alice"], shortest["nobody"] / 2)

    async def test_the_reactor_goes_on_meanwhile(self) -> None:
        self.write(alice=PASSWORD, bob="x")
        logins = self.logins()
        answers = [logins.check("alice", f"wrong{n}") for n in range(20)]
        turns = 0
        while logins.busy:
            await pause(0)
            turns += 1
        for answer in answers:
            with self.assertRaises(Unauthenticated):
                await answer
        self.assertGreater(turns, 20)
