"""Publishing from web applications: twisted.web and Klein."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.fakes import FakeLink
from twbridge.amqp import Link
from twbridge.errors import ConnectionClosed, NotReady, SettingsError
from twbridge.link.uri import parse
from twbridge.publishing import PublishingMixin, install


class Orders(PublishingMixin, Resource):
    """A resource of twisted.web."""

    def __init__(self, application: object = None) -> None:
        super().__init__()
        self.application = application


class Notes(PublishingMixin):
    """Resources of Klein."""

    app = Klein()

    @app.route("/")
    def create(self, request: object) -> Deferred[None]:
        return self.amqp_publish("notes", "created", b"note")


class InstallTests(SynchronousTestCase):
    """``install(app)``."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()

    def install(self, app: Any, **environ: str) -> bool:
        return install(app, reactor=self.reactor, environ=environ)

    def test_a_second_time_returns_false_and_keeps_the_link(self) -> None:
        app = Orders()
        self.assertIs(self.install(app, AMQP_URL="amqp://first"), True)
        link = getattr(app, "amqp")  # noqa: B009
        self.assertIs(self.install(app, AMQP_URL="amqp://second"), False)
        self.assertIs(getattr(app, "amqp"), link)  # noqa: B009

    def test_the_link_has_the_settings_of_the_environment(self) -> None:
        app: Any = Orders()
        self.install(
            app,
            RABBITMQ_URL="amqp://broker:7/v",
            AMQP_TIMEOUT="3",
            AMQP_RECONNECT_DELAY="2",
            AMQP_CONNECTION_ATTEMPTS="9",
            AMQP_CONFIRMATIONS="false",
        )
        link: Link = app.amqp
        self.assertEqual(link.parameters.hosts, (("broker", 7),))
        options = link.options
        self.assertEqual(
            (options.timeout, options.reconnect_cap, options.connection_attempts),
            (3.0, 2.0, 9),
        )
        self.assertFalse(options.confirmations)

    def test_the_link_lives_as_long_as_the_reactor_runs(self) -> None:
        app: Any = Orders()
        self.install(app, AMQP_URL="amqp://127.0.0.1")
        self.assertEqual(app.amqp.state, "idle")
        for hook, args, kwargs in self.reactor.whenRunningHooks:
            hook(*args, **kwargs)
        self.assertEqual(app.amqp.state, "connecting")
        (trigger,) = self.reactor.triggers["before"]["shutdown"]
        stopped = trigger[0]()
        self.reactor.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(app.amqp.state, "closed")

    def test_callbacks_are_told_of_the_link_with_what_is_theirs(self) -> None:
        app: Any = Orders()
        told: list[object] = []
        link = Link(self.reactor, parse("amqp://127.0.0.1"))
        install(
            app,
            link,
            on_ready=lambda: told.append("ready"),
            on_unavailable=lambda reason: told.append(("unavailable", reason)),
            on_state=told.append,
        )
        reason = ConnectionClosed(320, "CONNECTION_FORCED")
        link._machine.start()
        link._machine.up()
        link._machine.down(reason)
        self.assertEqual(
            told, ["connecting", "ready", "ready", "connecting", ("unavailable", reason)]
        )

    def test_on_return_gets_the_message_that_came_back(self) -> None:
        app: Any = Orders()
        told: list[object] = []
        link = Link(self.reactor, parse("amqp://127.0.0.1"))
        install(app, link, on_return=told.append)
        content: Any = object()
        link._return(content)
        self.assertEqual(told, [content])

    def test_a_second_install_registers_no_callback(self) -> None:
        app: Any = Orders()
        told: list[str] = []
        link = Link(self.reactor, parse("amqp://127.0.0.1"))
        install(app, link, on_state=told.append)
        self.assertIs(install(app, link, on_state=told.append), False)
        link._machine.start()
        self.assertEqual(told, ["connecting"])

    def test_without_a_url_it_says_what_to_set(self) -> None:
        error = self.assertRaises(SettingsError, self.install, Orders())
        self.assertEqual(str(error), "There is no broker: set AMQP_URL.")

    def test_a_wrong_setting_is_refused(self) -> None:
        app = Orders()
        error = self.assertRaises(
            SettingsError, self.install, app, AMQP_URL="amqp://a", AMQP_TIMEOUT="0"
        )
        self.assertIn("AMQP_TIMEOUT", str(error))
        self.assertIsNone(getattr(app, "amqp", None))


class PublishTests(SynchronousTestCase):
    """``self.amqp_publish(...)``."""

    def setUp(self) -> None:
        self.link: Any = FakeLink()

    def test_a_resource_that_is_the_application_publishes(self) -> None:
        orders = Orders()
        install(orders, self.link)
        done = orders.amqp_publish("orders", "new", b"1", {"type": "order"}, mandatory=True)
        self.assertNoResult(done)
        (publish,) = self.link.published
        self.assertEqual(
            (publish.exchange, publish.routing_key, publish.body, publish.properties),
            ("orders", "new", b"1", {"type": "order"}),
        )
        self.assertTrue(publish.mandatory)
        publish.answer.callback(None)
        self.successResultOf(done)

    def test_a_resource_below_the_application_publishes(self) -> None:
        root = Orders()
        install(root, self.link)
        Orders(root).amqp_publish("orders", "new", b"1")
        self.assertEqual(len(self.link.published), 1)

    def test_a_klein_resource_publishes_however_it_was_installed(self) -> None:
        notes = Notes()
        install(notes, self.link)
        notes.create(object())
        other = Notes()
        self.assertTrue(install(other.app, self.link))
        self.assertFalse(install(other.app, self.link))
        other.create(object())

        class Shared(Notes):
            app = Klein()

        install(Shared.app, self.link)
        Shared().create(object())
        self.assertEqual(len(self.link.published), 3)

    def test_a_resource_tells_the_state_of_the_link(self) -> None:
        orders = Orders()
        self.assertEqual(orders.amqp_state, "idle")
        self.assertIn("install(app) has not been called", orders.amqp_state_description)
        self.assertRaises(NotReady, lambda: orders.amqp_link)
        link = Link(MemoryReactorClock(), parse("amqp://guest:sekret@127.0.0.1"))
        install(orders, link)
        self.assertIs(orders.amqp_link, link)
        self.assertEqual(
            (orders.amqp_state, orders.amqp_state_description), ("idle", "not started")
        )

    def test_without_install_it_fails(self) -> None:
        failed = Orders().amqp_publish("orders", "new", b"1")
        error = self.failureResultOf(failed, NotReady).value
        self.assertIn("install(app) has not been called", str(error))
