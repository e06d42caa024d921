"""What a client may put into a publish; each refusal here is a channel or a connection saved."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge import screening
from twbridge.commands import Publish
from twbridge.destinations import Destination, parse
from twbridge.errors import (
    BadDestination,
    BadFrame,
    EncodeError,
    Forbidden,
    TooLarge,
    TwbridgeError,
)
from twbridge.reply_addresses import ReplyAddresses
from twbridge.screening import MAX_EXPIRATION, screen


class ScreenTests(SynchronousTestCase):
    def screen(
        self,
        destination: str | Destination = "/topic/a",
        body: bytes = b"",
        mandatory: bool | None = None,
        **properties: Any,
    ) -> bool:
        where = parse(destination) if isinstance(destination, str) else destination
        publish = Publish(None, where, body, properties, mandatory)
        return screen(publish, max_body=1000, max_headers=1000)

    def refused(self, kind: type[TwbridgeError], *args: Any, **properties: Any) -> None:
        error = self.assertRaises(kind, self.screen, *args, **properties)
        self.assertTrue(error.public)

    def test_expiration_is_digits_and_fits_the_broker(self) -> None:
        for value in ("", "-1", "1.5", "1e3", " 1", "²", "٣", 5, None, str(MAX_EXPIRATION + 1)):
            self.refused(BadFrame, expiration=value)
        for value in ("0", "60000", str(MAX_EXPIRATION)):
            self.screen(expiration=value)

    def test_delivery_mode_is_one_or_two(self) -> None:
        for value in (0, 3, -1, 255, "2", None):
            self.refused(BadFrame, delivery_mode=value)
        self.screen(delivery_mode=1)
        self.screen(delivery_mode=2)

    def test_user_id_and_cluster_id_are_the_bridges(self) -> None:
        self.refused(Forbidden, user_id="guest")
        self.refused(Forbidden, cluster_id="x")

    def test_direct_reply_to_is_out_of_reach(self) -> None:
        for value in ("amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.g1h2AA"):
            self.refused(Forbidden, reply_to=value)
            self.refused(Forbidden, f"/queue/{value}")
            self.refused(Forbidden, f"/amq/queue/{value}")
            self.refused(Forbidden, f"/reply-queue/{value}")
        self.screen(reply_to="my.queue")
        self.screen(reply_to="twbridge.reply.1")
        task = "twbridge.task.add"
        for value in (
            task,
            f"/queue/{task}",
            "/queue/%74wbridge.task.add",
            "/exchange/twbridge.dlx/a",
        ):
            self.refused(Forbidden, reply_to=value)

    def test_who_was_given_a_direct_reply_to_may_answer(self) -> None:
        addresses = ReplyAddresses()
        self.patch(screening, "given", addresses)
        name = "amq.rabbitmq.reply-to.g1h2AA==.k/ey=="
        destination = Destination("reply-queue", name)
        self.refused(Forbidden, destination)
        addresses.give(name.encode())
        self.assertFalse(self.screen(destination))
        self.assertFalse(self.screen(destination, mandatory=True))
        self.refused(Forbidden, Destination("queue", name))
        self.refused(Forbidden, Destination("reply-queue", f"{name}x"))
        self.refused(Forbidden, "/topic/a", reply_to=name)

    def test_cc_and_bcc_route_past_the_policy(self) -> None:
        for name in ("CC", "BCC"):
            for value in (["a"], "a", 1, None):
                self.refused(Forbidden, headers={name: value})
        self.screen(headers={"cc": "nothing special"})

    def test_what_workers_callers_and_brokers_say_is_not_a_clients_to_say(self) -> None:
        for name in (
            "twbridge-caller",
            "Twbridge-Reply",
            "twbridge-",
            "x-death",
            "X-Death",
            "x-first-death-reason",
            "x-last-death-queue",
            "x-delivery-count",
        ):
            self.refused(Forbidden, headers={"a": 1, name: "expired"})
        for name in ("twbridge", "x-request-id", "x-deaths", "x-stream-offset", "my-x-death", ""):
            self.screen(headers={name: "mine"})

    def test_headers_have_a_limit_in_bytes_as_encoded(self) -> None:
        self.screen(headers={"a": "x" * 900})
        self.refused(TooLarge, headers={"a": "x" * 1000})
        self.refused(TooLarge, headers={f"h{number}": True for number in range(300)})

    def test_headers_that_amqp_cannot_carry_are_refused(self) -> None:
        deep: Any = "x"
        for _ in range(200):
            deep = {"a": deep}
        for value in (2**64, {"a" * 256: 1}, deep):
            self.refused(EncodeError, headers={"h": value})

    def test_strings_have_at_most_255_bytes(self) -> None:
        for name in ("content_type", "correlation_id", "message_id", "type", "app_id", "reply_to"):
            properties: dict[str, Any] = {name: "x" * 255}
            self.screen(**properties)
            self.refused(TooLarge, **{name: "é" * 128})

    def test_a_body_has_a_limit(self) -> None:
        self.screen(body=bytes(1000))
        self.refused(TooLarge, body=bytes(1001))

    def test_a_key_over_255_bytes_is_no_destination(self) -> None:
        self.assertRaises(BadDestination, parse, "/topic/" + "x" * 256)

    def test_what_can_not_be_published_to_is_refused(self) -> None:
        for text in ("/temp-queue/a", "/task/a"):
            self.refused(BadDestination, text)
            error = self.assertRaises(BadDestination, self.screen, text)
            self.assertIn("/amq/queue, /reply-queue and /stream destinations", error.public)

    def test_mandatory_is_as_asked_or_true_for_queues_and_streams(self) -> None:
        self.assertFalse(self.screen("/topic/a"))
        self.assertFalse(self.screen("/exchange/a"))
        self.assertTrue(self.screen("/queue/a"))
        self.assertTrue(self.screen("/amq/queue/a"))
        self.assertTrue(self.screen("/reply-queue/a"))
        self.assertTrue(self.screen("/stream/a"))
        self.assertFalse(self.screen("/stream/a", mandatory=False))
        self.assertTrue(self.screen("/topic/a", mandatory=True))
        self.assertFalse(self.screen("/queue/a", mandatory=False))

    @given(
        st.dictionaries(
            st.sampled_from(["expiration", "delivery_mode", "reply_to", "type", "user_id"]),
            st.text() | st.integers() | st.none() | st.booleans(),
        )
    )
    def test_whatever_is_set_it_passes_or_is_refused(self, properties: dict[str, Any]) -> None:
        try:
            self.screen(**properties)
        except TwbridgeError:
            return
        self.assertNotIn("user_id", properties)
