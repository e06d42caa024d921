"""What a client may say when: every pair of a state and a frame, and what follows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dialects.stomp.speaking import Talk, dialect, error, frame
from tests.dialects.stomp.test_frames import SOUP
from twbridge import commands
from twbridge.destinations import parse
from twbridge.dialects.interfaces import Close
from twbridge.dialects.stomp import FrameLimits, StompLimits
from twbridge.dialects.stomp.conversation import COMMANDS, EARLY, State
from twbridge.dialects.stomp.frames import VERSIONS
from twbridge.dialects.stomp.transactions import TransactionLimits
from twbridge.errors import ConnectionClosed, Forbidden, NotFound, NotReady

#: A good frame of each command.
GOOD: dict[str, dict[str, str]] = {
    "CONNECT": {"accept_version": "1.2"},
    "STOMP": {"accept_version": "1.2"},
    "SEND": {"destination": "/topic/a"},
    "SUBSCRIBE": {"id": "new", "destination": "/topic/a"},
    "UNSUBSCRIBE": {"id": "s"},
    "ACK": {"id": "T_s@@t1@@1", "message_id": "T_s@@t1@@1"},
    "NACK": {"id": "T_s@@t1@@1", "message_id": "T_s@@t1@@1"},
    "BEGIN": {"transaction": "new", "receipt": "r"},
    "COMMIT": {"transaction": "t", "receipt": "r"},
    "ABORT": {"transaction": "t", "receipt": "r"},
    "DISCONNECT": {},
    "MESSAGE": {"destination": "/topic/a"},
    "send": {"destination": "/topic/a"},
}
#: What it gives where the client is connected, has the subscription s and the transaction t.
GIVES: dict[str, type] = {
    "CONNECT": commands.Invalid,
    "STOMP": commands.Invalid,
    "SEND": commands.Publish,
    "SUBSCRIBE": commands.Subscribe,
    "UNSUBSCRIBE": commands.Unsubscribe,
    "ACK": commands.Ack,
    "NACK": commands.Nack,
    "BEGIN": commands.Ping,
    "COMMIT": commands.Ping,
    "ABORT": commands.Ping,
    "DISCONNECT": commands.Disconnect,
    "MESSAGE": commands.Invalid,
    "send": commands.Invalid,
}


def prepare(talk: Talk) -> None:
    """Make what ``GIVES`` is about."""
    talk.say("SUBSCRIBE", id="s", destination="/queue/a", ack="client")
    talk.say("BEGIN", transaction="t")


class EveryPairTests(SynchronousTestCase):
    """Every state and every frame."""

    def test_every_command_is_tried(self) -> None:
        self.assertEqual(set(GOOD) - {"MESSAGE", "send"}, set(COMMANDS))
        self.assertEqual(set(GOOD), set(GIVES))

    def test_before_connect_only_connect_is_heard(self) -> None:
        for command, headers in GOOD.items():
            talk = Talk(None)
            (found,) = talk.say(command, **headers)
            if command in ("CONNECT", "STOMP"):
                self.assertIsInstance(found, commands.Connect)
                self.assertIs(talk.codec.state, State.CONNECTING)
            else:
                told, end = talk.obey([found])
                text = "You must log in using CONNECT first."
                receipt = {"receipt_id": "r"} if "receipt" in headers else {}
                self.assertEqual(told, error("Illegal command", text, **receipt))
                self.assertEqual(end, Close(1008, text))
                self.assertIs(talk.codec.state, State.CLOSING)

    def test_right_behind_a_connect_everything_is_read_as_after_it(self) -> None:
        for version in VERSIONS:
            for command, headers in GOOD.items():
                talk = Talk(None)
                talk.say("CONNECT", accept_version=version)
                prepare(talk)
                (found,) = talk.say(command, **headers)
                self.assertIsInstance(found, GIVES[command], (version, command))

    def test_when_connected_everything_is_heard_but_connect(self) -> None:
        for version in VERSIONS:
            for command, headers in GOOD.items():
                talk = Talk(version)
                prepare(talk)
                (found,) = talk.say(command, **headers)
                self.assertIsInstance(found, GIVES[command], (version, command))
                ends = GIVES[command] in (commands.Invalid, commands.Disconnect)
                self.assertIs(talk.codec.state, State.CLOSING if ends else State.CONNECTED)

    def test_after_the_end_nothing_is_heard(self) -> None:
        for command, headers in GOOD.items():
            talk = Talk()
            talk.say("DISCONNECT")
            self.assertEqual(talk.say(command, **headers), [])
            talk = Talk()
            found = talk.send(frame("DISCONNECT") + frame(command, **headers))
            self.assertEqual(len(found), 1)

    def test_an_unknown_command_is_named(self) -> None:
        talk = Talk()
        told, _ = talk.obey(talk.say("FOO\\", receipt="1"))
        text = "There is no command 'FOO\\\\' for clients."
        self.assertEqual(told, error("Bad command", text, receipt_id="1"))
        talk = Talk()
        told, _ = talk.obey(talk.say("CONNECT"))
        self.assertEqual(told, error("Illegal command", "You are connected already."))


class ConnectTests(SynchronousTestCase):
    """CONNECT and what it agrees on."""

    def connected(self, **headers: str) -> bytes:
        talk = Talk(None)
        talk.say("CONNECT", **headers)
        told = talk.hear(commands.Connected(None, "alice"))
        assert told is not None
        return told.split(b"session:5f.1\n")[1]

    def test_the_newest_common_version_is_taken(self) -> None:
        for accepted, version in (
            ("1.0", "1.0"),
            ("1.2,1.1,1.0", "1.2"),
            ("1.0, 1.1", "1.1"),
            ("1.3,2.0,1.1", "1.1"),
        ):
            self.assertEqual(
                self.connected(accept_version=accepted),
                f"heart-beat:0,0\nversion:{version}\n\n\0".encode(),
            )
        self.assertEqual(self.connected(), b"heart-beat:0,0\nversion:1.0\n\n\0")

    def test_without_a_common_one_there_is_an_error(self) -> None:
        talk = Talk(None)
        told, end = talk.obey(talk.say("CONNECT", accept_version="1.3", receipt="r"))
        text = "Supported versions are 1.0,1.1,1.2."
        self.assertEqual(told, error("Version mismatch", text, receipt_id="r"))
        self.assertEqual(end, Close(1008, text))

    def test_who_it_is_goes_to_the_session(self) -> None:
        self.assertEqual(
            Talk(None).one("CONNECT", accept_version="1.2", login="u:1", passcode="\\c", host="/"),
            commands.Connect(None, "u:1", "\\c", "/"),
        )
        self.assertEqual(
            Talk(None).one("STOMP", login=" u", passcode=" p "),
            commands.Connect(None, "u", "p ", None),
        )

    def test_the_host_is_the_vhost(self) -> None:
        talk = Talk(None)
        told, end = talk.obey(talk.say("CONNECT", accept_version="1.2", host="nope"))
        text = "Virtual host 'nope' access denied."
        self.assertEqual(told, error("Bad CONNECT", text))
        self.assertEqual(end, Close(4503, text))
        found = Talk(None, dialect(vhost=None)).say("CONNECT", host="anything")
        self.assertEqual(found, [commands.Connect(None, None, None, "anything")])

    def test_heart_beats_are_whole_seconds(self) -> None:
        for text, told, beats in (
            ("0,0", "0,0", (0.0, 0.0)),
            ("500,1500", "1000,1000", (1.0, 1.0)),
            ("10000,2999", "2000,10000", (2.0, 10.0)),
            ("0, 4000", "4000,0", (4.0, 0.0)),
            ("-1,0", "0,0", (0.0, 0.0)),
        ):
            talk = Talk(None)
            talk.say("CONNECT", accept_version="1.2", heart_beat=text)
            self.assertIsNone(talk.codec.beats)
            connected = talk.hear(commands.Connected(None, None))
            self.assertIn(f"heart-beat:{told}\n".encode(), connected or b"")
            self.assertEqual(talk.codec.beats, beats)

    def test_a_heart_beat_that_is_none_is_refused(self) -> None:
        for text in ("a,b", "1000", "1,2,3", "", "1.5,0", "1" * 13 + ",0"):
            talk = Talk(None)
            told, _ = talk.obey(talk.say("CONNECT", heart_beat=text))
            self.assertTrue((told or b"").startswith(b"ERROR\nmessage:Bad CONNECT\n"))

    def test_a_refused_login_is_an_error(self) -> None:
        talk = Talk(None)
        talk.say("CONNECT", accept_version="1.2")
        refused = commands.Refused(None, Forbidden("Access refused for user 'x'."), "connect")
        self.assertEqual(talk.hear(refused), error("Bad CONNECT", "Access refused for user 'x'."))
        self.assertEqual(talk.codec.closing(refused), Close(4503, "Access refused for user 'x'."))

    def test_not_everything_may_be_said_before_the_answer(self) -> None:
        talk = Talk(None)
        talk.say("CONNECT")
        found = talk.send(frame("SEND", destination="/topic/a") * (EARLY + 1))
        self.assertEqual(len(found), EARLY + 1)
        self.assertIsInstance(found[-1], commands.Invalid)

    def test_the_version_holds_for_what_comes_right_behind(self) -> None:
        found = Talk(None).send(
            frame("CONNECT", accept_version="1.2", passcode="a\\c")
            + frame("SEND", destination="/topic/a\\cb")
        )
        self.assertEqual(found[0], commands.Connect(None, None, "a\\c", None))
        assert isinstance(found[1], commands.Publish)
        self.assertEqual(found[1].destination, parse("/topic/a:b"))


class SubscriptionTests(SynchronousTestCase):
    """SUBSCRIBE, UNSUBSCRIBE and the answers to them."""

    def test_the_receipt_comes_when_it_stands(self) -> None:
        talk = Talk()
        topic = parse("/topic/a")
        talk.say("SUBSCRIBE", id="1", destination="/topic/a", receipt="r")
        talk.say("SUBSCRIBE", id="2", destination="/topic/a")
        subscribed = commands.Subscribed(1, topic, "T_1")
        self.assertEqual(talk.hear(subscribed), b"RECEIPT\nreceipt-id:r\n\n\0")
        self.assertIsNone(talk.codec.closing(subscribed))
        self.assertIsNone(talk.hear(commands.Subscribed(2, topic, "T_2")))

    def test_a_refusal_names_the_subscription(self) -> None:
        talk = Talk()
        talk.say("SUBSCRIBE", id="a\\cb", destination="/topic/a", receipt="r")
        refused = commands.Refused(1, Forbidden("No."), "subscribe")
        told = error("access_refused", "No.", receipt_id="r", subscription="a\\cb")
        self.assertEqual(talk.hear(refused), told)
        self.assertEqual(talk.codec.closing(refused), Close(4503, "No."))

    def test_the_same_id_twice_is_refused(self) -> None:
        talk = Talk()
        talk.say("SUBSCRIBE", id="1", destination="/topic/a")
        told, _ = talk.obey(talk.say("SUBSCRIBE", id="1", destination="/topic/b"))
        text = "A subscription identified by '1' exists already."
        self.assertEqual(told, error("Duplicated subscription identifier", text))
        talk = Talk()
        talk.say("SUBSCRIBE", destination="/topic/a")
        talk.obey(talk.say("SUBSCRIBE", destination="/topic/a"))

    def test_wrong_frames_are_refused(self) -> None:
        base = {"id": "1", "destination": "/topic/a"}
        for headers, title, text in (
            ({"id": "1"}, "Missing destination", "SUBSCRIBE must include a destination header."),
            (
                {**base, "destination": "/foo/x"},
                "Unknown destination",
                None,
            ),
            ({**base, "destination": "a/b"}, "Unknown destination", None),
            ({**base, "destination": "/"}, "Unknown destination", None),
            ({**base, "destination": "/queue/a/b"}, "Invalid destination", None),
            ({**base, "destination": ""}, "Invalid destination", "A destination can't be blank."),
            (
                {**base, "destination": "/topic/"},
                "Invalid destination",
                "The key in '/topic/' is empty.",
            ),
            (
                {**base, "id": "/temp-queue/x"},
                "Invalid id",
                "The id of SUBSCRIBE may not begin with /temp-queue/.",
            ),
            ({**base, "id": "x" * 254}, "Invalid id", "An id has at most 253 bytes."),
            (
                {**base, "ack": "foo"},
                "Invalid frame",
                "The header ack is auto, client, client-individual, not 'foo'.",
            ),
            (
                {**base, "durable": "yes"},
                "Invalid frame",
                "The header durable is true or false, not 'yes'.",
            ),
            (
                {"destination": "/topic/a", "durable": "true"},
                "Missing Header",
                "The header id is required for durable subscriptions.",
            ),
            ({**base, "prefetch_count": "x"}, "Invalid frame", None),
            ({**base, "x_message_ttl": "x"}, "Invalid frame", None),
            ({**base, "x_queue_name": "x" * 256}, "Invalid frame", None),
            ({**base, "destination": "s", "x_stream_offset": "foo"}, "Invalid frame", None),
        ):
            talk = Talk()
            told, end = talk.obey(talk.say("SUBSCRIBE", **headers))
            assert told is not None
            assert end is not None
            self.assertIn(f"ERROR\nmessage:{title}\n".encode(), told)
            if text is not None:
                self.assertEqual(told, error(title, text))
            self.assertEqual(end.code, 1008)

    def test_nobody_reads_another_queue_by_its_name(self) -> None:
        own = "stomp-subscription-i6wmF6QuLJJnSjuF3hNY5w"
        base = {"id": "dur2", "destination": "/topic/t.#"}
        for name in (own, "stomp-subscription-x", "twbridge.reply.x"):
            talk = Talk()
            told, end = talk.obey(talk.say("SUBSCRIBE", **base, x_queue_name=name))
            text = f"You can't choose the name {name!r}."
            self.assertEqual(told, error("access_refused", text))
            self.assertEqual(end, Close(4503, text))
        found = Talk().one("SUBSCRIBE", **base, durable="true", x_queue_name=own)
        self.assertIsInstance(found, commands.Subscribe)

    def test_unsubscribing_by_id_or_by_destination(self) -> None:
        talk = Talk()
        topic = parse("/topic/a")
        talk.say("SUBSCRIBE", id="1", destination="/topic/a")
        talk.say("SUBSCRIBE", destination="/topic/a")
        self.assertEqual(
            talk.say("UNSUBSCRIBE", id="1", receipt="r"),
            [commands.Unsubscribe("r", topic, "T_1")],
        )
        self.assertEqual(
            talk.say("UNSUBSCRIBE", destination="/topic/a"),
            [commands.Unsubscribe(None, topic, "Q_/topic/a")],
        )
        ended = commands.Unsubscribed("r", topic, None, "T_1")
        self.assertEqual(talk.hear(ended), b"RECEIPT\nreceipt-id:r\n\n\0")
        self.assertIsNone(talk.hear(commands.Unsubscribed(None, topic, None, "T_1")))
        talk.say("SUBSCRIBE", id="1", destination="/topic/a")

    def test_a_durable_subscriptions_queue_goes_where_that_is_asked(self) -> None:
        for destination, subscribed, unsubscribed, delete in (
            ("/topic/a", {"durable": "true"}, {"durable": "true"}, True),
            ("/topic/a", {"durable": "true"}, {"persistent": "true"}, True),
            ("/topic/a", {"x_queue_name": "q"}, {"durable": "true"}, False),
            ("/topic/a", {"durable": "true", "x_queue_name": "q"}, {"durable": "true"}, False),
            ("/topic/a", {"durable": "true"}, {}, False),
            ("/topic/a", {}, {"durable": "true"}, False),
            ("/exchange/e/a", {"durable": "true"}, {"durable": "true"}, False),
            ("/queue/a", {"durable": "true"}, {"durable": "true"}, False),
        ):
            talk = Talk()
            talk.say("SUBSCRIBE", id="1", destination=destination, **subscribed)
            found = talk.one("UNSUBSCRIBE", id="1", **unsubscribed)
            assert isinstance(found, commands.Unsubscribe)
            self.assertIs(found.delete, delete)

    def test_what_is_not_subscribed_can_not_be_ended(self) -> None:
        for headers, title, text in (
            ({"id": "z"}, "No subscription found", "There is no subscription 'z' to end."),
            (
                {},
                "Missing destination or id",
                "UNSUBSCRIBE must include a destination or id header.",
            ),
            (
                {"id": "/temp-queue/x"},
                "Invalid id",
                "The id of UNSUBSCRIBE may not begin with /temp-queue/.",
            ),
        ):
            talk = Talk()
            told, _ = talk.obey(talk.say("UNSUBSCRIBE", **headers))
            self.assertEqual(told, error(title, text))

    def test_one_that_the_server_ends_is_an_error(self) -> None:
        talk = Talk("1.0")
        ended = commands.Unsubscribed(None, parse("/queue/a"), "The queue was deleted.", "T_w")
        title, text = "Server cancelled subscription", "The queue was deleted."
        self.assertEqual(talk.hear(ended), error(title, text, subscription="w"))
        self.assertEqual(talk.codec.closing(ended), Close(1013, text))
        ended = commands.Unsubscribed(None, parse("/queue/a"), text, "Q_/queue/a")
        self.assertEqual(talk.hear(ended), error(title, text))


class LossTests(SynchronousTestCase):
    """The broker went away and came back: nothing is missed in silence."""

    def subscribed(self, *some: dict[str, str]) -> Talk:
        """A client with these subscriptions, which stand."""
        talk = Talk()
        for number, headers in enumerate(some):
            found = talk.one("SUBSCRIBE", id=f"s{number}", **headers)
            assert isinstance(found, commands.Subscribe)
            talk.hear(commands.Subscribed(found.id, found.destination, found.name))
        return talk

    def lose(self, talk: Talk) -> bytes | None:
        """What is told when the broker goes and comes."""
        down, up = commands.LinkChanged(False), commands.LinkChanged(True)
        self.assertIsNone(talk.hear(down))
        self.assertIsNone(talk.codec.closing(down))
        told = talk.hear(up)
        self.assertEqual(talk.codec.closing(up) is None, told is None)
        return told

    def test_who_may_have_missed_messages_is_told_and_closed(self) -> None:
        queue = {"destination": "/queue/a"}
        for written in ("/topic/a.#", "/exchange/e/k"):
            talk = self.subscribed(queue, {"destination": written})
            told = self.lose(talk)
            text = f"Messages may be missing from {written}: connect and subscribe again."
            self.assertEqual(told, error("Messages missed", text, subscription="s1"))
            event = commands.LinkChanged(True)
            self.assertEqual(talk.codec.closing(event), Close(1013, text))
            self.assertIs(talk.codec.state, State.CLOSING)
            self.assertIsNone(talk.hear(event))

    def test_queues_and_streams_go_on(self) -> None:
        talk = self.subscribed(
            {"destination": "/queue/a"},
            {"destination": "/amq/queue/a"},
            {"destination": "/stream/s"},
            {"destination": "/topic/a", "ack": "client"},
            {"destination": "/topic/a", "durable": "true"},
            {"destination": "/topic/a", "x_queue_name": "q"},
        )
        self.assertIsNone(self.lose(talk))
        self.assertIs(talk.codec.state, State.CONNECTED)

    def test_what_did_not_stand_or_has_ended_misses_nothing(self) -> None:
        talk = self.subscribed({"destination": "/topic/a"})
        talk.say("SUBSCRIBE", id="later", destination="/topic/b")
        talk.hear(commands.LinkChanged(False))
        talk.say("UNSUBSCRIBE", id="s0")
        talk.say("SUBSCRIBE", id="s0", destination="/topic/a")
        self.assertIsNone(talk.hear(commands.LinkChanged(True)))
        self.assertIs(talk.codec.state, State.CONNECTED)

    def test_a_queue_that_had_to_be_made_again_is_told_of(self) -> None:
        talk = self.subscribed({"destination": "/topic/a", "ack": "client"})
        gap = commands.Gap(parse("/topic/a"), name="T_s0")
        text = "Messages may be missing from /topic/a: connect and subscribe again."
        self.assertEqual(talk.hear(gap), error("Messages missed", text, subscription="s0"))
        self.assertEqual(talk.codec.closing(gap), Close(1013, text))

    def test_who_leaves_is_not_told(self) -> None:
        talk = self.subscribed({"destination": "/topic/a"})
        talk.hear(commands.LinkChanged(False))
        talk.say("DISCONNECT", receipt="bye")
        self.assertIsNone(talk.hear(commands.LinkChanged(True)))
        self.assertIsNone(talk.codec.closing(commands.LinkChanged(True)))


class AcknowledgingTests(SynchronousTestCase):
    """ACK and NACK."""

    def talk(self, version: str = "1.2", **headers: str) -> Talk:
        (found,) = (each for each in VERSIONS if each == version)
        talk = Talk(found)
        talk.say("SUBSCRIBE", id="s", destination="/queue/a", **headers)
        return talk

    def test_every_version_names_the_message_in_its_way(self) -> None:
        queue = parse("/queue/a")
        for version in VERSIONS:
            header = "id" if version == "1.2" else "message_id"
            for mode, multiple in (("client", True), ("client-individual", False)):
                talk = self.talk(version, ack=mode)
                named = {header: "T_s@@t1@@7", "subscription": "s", "receipt": "r"}
                self.assertEqual(
                    talk.say("ACK", **named), [commands.Ack("r", queue, 7, multiple, "T_s")]
                )
                self.assertEqual(
                    talk.say("NACK", **named), [commands.Nack("r", queue, 7, True, multiple, "T_s")]
                )
                self.assertEqual(
                    talk.say("NACK", **named, requeue="no"),
                    [commands.Nack("r", queue, 7, True, multiple, "T_s")],
                )
                self.assertEqual(
                    talk.say("NACK", **named, requeue="false"),
                    [commands.Nack("r", queue, 7, False, multiple, "T_s")],
                )
                told = talk.hear(commands.Acknowledged("r"))
                self.assertEqual(told, b"RECEIPT\nreceipt-id:r\n\n\0")
                self.assertIsNone(talk.hear(commands.Acknowledged(None)))

    def test_an_id_may_look_like_anything(self) -> None:
        talk = Talk()
        talk.say("SUBSCRIBE", id="a@@b@@1", destination="/queue/a", ack="client")
        found = talk.one("ACK", id="T_a@@b@@1@@t1@@3")
        assert isinstance(found, commands.Ack)
        self.assertEqual((found.name, found.delivery_tag), ("T_a@@b@@1", 3))

    def test_what_names_no_message_is_refused(self) -> None:
        for command in ("ACK", "NACK"):
            for headers, title, text in (
                ({"message_id": "T_s@@t1@@1"}, "Missing header", f"{command} must include the id."),
                ({"id": "7"}, "Invalid header", f"{command} must include a valid id."),
                ({"id": "T_s@@t1@@x"}, "Invalid header", f"{command} must include a valid id."),
            ):
                talk = self.talk(ack="client")
                told, _ = talk.obey(talk.say(command, **headers))
                self.assertEqual(told, error(title, text))

    def test_of_a_subscription_that_has_ended_only_who_asks_hears(self) -> None:
        for name in ("T_other@@t1@@1", "T_s@@t9@@1"):
            talk = self.talk(ack="client")
            self.assertEqual(talk.say("ACK", id=name), [])
            self.assertEqual(talk.say("NACK", id=name), [])
            told, _ = talk.obey(talk.say("ACK", id=name, receipt="r"))
            text = "The subscription of the message that ACK names has ended."
            self.assertEqual(told, error("Subscription not found", text, receipt_id="r"))

    def test_a_new_subscription_with_the_same_id_has_other_messages(self) -> None:
        talk = self.talk(ack="client")
        talk.say("UNSUBSCRIBE", id="s")
        talk.say("SUBSCRIBE", id="s", destination="/queue/a", ack="client")
        self.assertEqual(talk.say("ACK", id="T_s@@t1@@1"), [])
        self.assertIsInstance(talk.one("ACK", id="T_s@@t2@@1"), commands.Ack)

    def test_what_needs_no_ack_may_have_one(self) -> None:
        for headers in ({}, {"x_stream_offset": "first", "ack": "client"}):
            talk = self.talk(**headers)
            self.assertEqual(talk.say("ACK", id="T_s@@t1@@1"), [])
            found = talk.say("ACK", id="T_s@@t1@@1", receipt="r")
            self.assertEqual(found, [commands.Ping("r")])
            told, _ = talk.obey(talk.say("NACK", id="T_s@@t1@@1"))
            text = "The messages of this subscription can't be refused."
            self.assertEqual(told, error("precondition_failed", text))

    def test_one_that_comes_too_late_is_told_to_who_asks(self) -> None:
        for operation in ("ack", "nack"):
            talk = self.talk(ack="client")
            late = commands.Refused(None, NotFound("Gone."), operation)
            self.assertIsNone(talk.hear(late))
            self.assertIsNone(talk.codec.closing(late))
            late = commands.Refused("r", NotFound("Gone."), operation)
            self.assertEqual(talk.hear(late), error("not_found", "Gone.", receipt_id="r"))
            self.assertEqual(talk.codec.closing(late), Close(1008, "Gone."))


class TransactionTests(SynchronousTestCase):
    """BEGIN, COMMIT and ABORT."""

    def test_nothing_happens_before_the_commit(self) -> None:
        talk = Talk()
        self.assertEqual(talk.say("BEGIN", transaction="t", receipt="b"), [commands.Ping("b")])
        self.assertEqual(talk.say("BEGIN", transaction="u"), [])
        talk.say("SUBSCRIBE", id="s", destination="/queue/a", ack="client")
        self.assertEqual(
            talk.say("SEND", b"1", destination="/topic/a", transaction="t", receipt="s1"), []
        )
        ack = {"id": "T_s@@t1@@1", "transaction": "t"}
        self.assertEqual(talk.say("ACK", **ack), [])
        self.assertEqual(talk.say("NACK", **ack, receipt="n"), [commands.Ping("n")])
        commit = talk.one("COMMIT", transaction="t", receipt="c")
        assert isinstance(commit, commands.Commit)
        self.assertEqual(commit.id, "c")
        one, two, three = commit.commands
        assert isinstance(one, commands.Publish)
        self.assertEqual(one.body, b"1")
        self.assertEqual((one.id, two.id, three.id), (2, 3, 4))
        self.assertEqual(two, commands.Ack(3, parse("/queue/a"), 1, True, "T_s"))
        self.assertEqual(three, commands.Nack(4, parse("/queue/a"), 1, True, True, "T_s"))

    def test_the_receipt_comes_when_all_is_confirmed(self) -> None:
        talk = Talk()
        talk.say("BEGIN", transaction="t")
        for receipt in ({"receipt": "1"}, {}, {"receipt": "3"}):
            talk.say("SEND", destination="/topic/a", transaction="t", **receipt)
        talk.say("COMMIT", transaction="t", receipt="c")
        self.assertIsNone(talk.hear(commands.Published(2)))
        self.assertEqual(talk.hear(commands.Published(1)), b"RECEIPT\nreceipt-id:1\n\n\0")
        self.assertEqual(
            talk.hear(commands.Published(3)),
            b"RECEIPT\nreceipt-id:3\n\n\0RECEIPT\nreceipt-id:c\n\n\0",
        )
        self.assertIsNone(talk.hear(commands.Published(3)))

    def test_a_commit_that_fails_is_an_error_with_its_receipt(self) -> None:
        talk = Talk()
        talk.say("BEGIN", transaction="t")
        talk.say("SEND", destination="/topic/a", transaction="t")
        talk.say("COMMIT", transaction="t", receipt="c")
        refused = commands.Refused(1, ConnectionClosed(0, "secret"), "publish")
        text = "The connection to the message broker was lost."
        self.assertEqual(talk.hear(refused), error("not_ready", text, receipt_id="c"))
        self.assertEqual(talk.codec.closing(refused), Close(1013, text))

    def test_an_ack_in_it_that_comes_too_late_is_told_to_who_asks(self) -> None:
        for receipt in ({}, {"receipt": "c"}):
            talk = Talk()
            talk.say("SUBSCRIBE", id="s", destination="/queue/a", ack="client")
            talk.say("BEGIN", transaction="t")
            talk.say("ACK", id="T_s@@t1@@1", transaction="t")
            talk.say("COMMIT", transaction="t", **receipt)
            told = talk.hear(commands.Refused(2, NotFound("Gone."), "ack"))
            self.assertEqual(told is None, not receipt)

    def test_an_abort_forgets_it(self) -> None:
        talk = Talk()
        talk.say("BEGIN", transaction="t")
        talk.say("SEND", destination="/topic/a", transaction="t")
        self.assertEqual(talk.say("ABORT", transaction="t", receipt="a"), [commands.Ping("a")])
        told = talk.hear(commands.Pong("a"))
        self.assertEqual(told, b"RECEIPT\nreceipt-id:a\n\n\0")
        talk.say("BEGIN", transaction="t")
        self.assertEqual(talk.say("COMMIT", transaction="t"), [])

    def test_a_queue_for_answers_is_made_at_the_commit(self) -> None:
        """Else aborted ones would be remembered for ever."""
        talk = Talk()

        def keep(number: int) -> None:
            talk.say("BEGIN", transaction="t")
            reply_to = f"/temp-queue/{number}"
            talk.say("SEND", destination="/topic/a", transaction="t", reply_to=reply_to)

        for number in range(100):
            keep(number)
            talk.say("ABORT", transaction="t")
        keep(7)
        commit = talk.one("COMMIT", transaction="t")
        assert isinstance(commit, commands.Commit)
        (found,) = commit.commands
        assert isinstance(found, commands.Publish)
        self.assertEqual(found.properties["reply_to"], "twbridge.reply.t1")
        assert found.reply is not None
        self.assertEqual(found.reply.name, "T_/temp-queue/7")

    def test_wrong_ones_are_refused(self) -> None:
        for command, headers, title, text in (
            ("BEGIN", {}, "Missing transaction", "BEGIN must include a transaction header."),
            ("COMMIT", {}, "Missing transaction", "COMMIT must include a transaction header."),
            ("ABORT", {}, "Missing transaction", "ABORT must include a transaction header."),
            (
                "BEGIN",
                {"transaction": "t"},
                "Bad transaction",
                "A transaction 't' has begun already.",
            ),
            ("COMMIT", {"transaction": "x"}, "Bad transaction", "There is no transaction 'x'."),
            ("ABORT", {"transaction": "x"}, "Bad transaction", "There is no transaction 'x'."),
            (
                "SEND",
                {"transaction": "x", "destination": "/topic/a"},
                "Bad transaction",
                "There is no transaction 'x'.",
            ),
        ):
            talk = Talk()
            talk.say("BEGIN", transaction="t")
            told, _ = talk.obey(talk.say(command, **headers))
            self.assertEqual(told, error(title, text))

    def test_what_they_keep_is_bounded(self) -> None:
        limits = StompLimits(transactions=TransactionLimits(open=2, commands=3, size=400))
        send = {"destination": "/topic/a", "transaction": "t"}

        def talk() -> Talk:
            talk = Talk("1.2", dialect(limits))
            talk.say("BEGIN", transaction="t")
            talk.say("BEGIN", transaction="u")
            return talk

        one = talk()
        told, end = one.obey(one.say("BEGIN", transaction="v"))
        self.assertEqual(told, error("Too many", "A session has at most 2 transactions."))
        self.assertEqual(end, Close(1008, "A session has at most 2 transactions."))
        one = talk()
        self.assertEqual(one.send(frame("SEND", **send) * 3), [])
        told, _ = one.obey(one.say("SEND", **send | {"transaction": "u"}))
        self.assertEqual(told, error("Too many", "Transactions keep at most 3 frames."))
        one = talk()
        told, _ = one.obey(one.say("SEND", b"x" * 400, **send))
        self.assertEqual(told, error("Too many", "Transactions keep at most 400 bytes."))
        one = talk()
        for _ in range(5):
            self.assertEqual(one.send(frame("SEND", b"x" * 100, **send) * 2), [])
            commit = one.one("COMMIT", transaction="t")
            assert isinstance(commit, commands.Commit)
            self.assertEqual(len(commit.commands), 2)
            one.say("BEGIN", transaction="t")


class EndTests(SynchronousTestCase):
    """DISCONNECT, and what can't be read."""

    def test_the_receipt_of_disconnect_is_the_last_word(self) -> None:
        talk = Talk()
        self.assertEqual(talk.say("DISCONNECT", receipt="d"), [commands.Disconnect("d")])
        self.assertEqual(talk.hear(commands.Published("p")), b"RECEIPT\nreceipt-id:p\n\n\0")
        event = commands.Disconnected("d")
        self.assertEqual(talk.hear(event), b"RECEIPT\nreceipt-id:d\n\n\0")
        self.assertEqual(talk.codec.closing(event), Close(1000, ""))

    def test_without_a_receipt_it_just_closes(self) -> None:
        talk = Talk()
        talk.say("DISCONNECT")
        event = commands.Disconnected(None)
        self.assertIsNone(talk.hear(event))
        self.assertEqual(talk.codec.closing(event), Close(1000, ""))

    def test_what_came_before_a_bad_frame_is_carried_out(self) -> None:
        talk = Talk()
        good, bad = talk.send(frame("SEND", destination="/topic/a") + b"SEND\nfoo\n\n\0more")
        self.assertIsInstance(good, commands.Publish)
        told, end = talk.obey([bad])
        text = "The header line 'foo' has no name or no colon."
        self.assertEqual(told, error("Invalid frame", text))
        self.assertEqual(end, Close(1008, text))
        self.assertEqual(talk.send(b"more"), [])

    def test_a_frame_that_is_too_large_is_refused(self) -> None:
        talk = Talk("1.2", dialect(StompLimits(FrameLimits(body=9))))
        told, end = talk.obey(talk.say("SEND", b"x" * 10))
        self.assertEqual(told, error("Frame too large", "The body is over 9 bytes."))
        self.assertEqual(end, Close(1009, "The body is over 9 bytes."))

    def test_a_refused_send_ends_the_conversation(self) -> None:
        talk = Talk()
        talk.say("SEND", destination="/topic/a", receipt="p")
        refused = commands.Refused("p", NotReady(), "publish")
        text = "The message broker is not reachable at the moment."
        self.assertEqual(talk.hear(refused), error("not_ready", text, receipt_id="p"))
        self.assertEqual(talk.codec.closing(refused), Close(1013, text))
        self.assertEqual(talk.say("SEND", destination="/topic/a"), [])

    def test_what_stomp_has_no_word_for_is_not_told(self) -> None:
        talk = Talk()
        topic = parse("/topic/a")
        for event in (
            commands.LinkChanged(False),
            commands.LinkChanged(True),
            commands.Gap(parse("/stream/s"), 3, 7, "T_s"),
            commands.Dropped(topic, 3),
            commands.Drain(2.0),
            commands.Published(None),
            commands.Pong(None),
        ):
            self.assertIsNone(talk.hear(event))
            self.assertIsNone(talk.codec.closing(event))

    def test_a_heart_beat_asks_for_nothing(self) -> None:
        talk = Talk()
        self.assertEqual(talk.send(b"\n"), [])
        self.assertEqual(talk.send(b"\r\n\n"), [])
        self.assertEqual(talk.codec.beat, b"\n")
        self.assertEqual(list(talk.codec.opening()), [])

    @given(st.lists(SOUP | st.sampled_from([frame(c, **h) for c, h in GOOD.items()]), max_size=9))
    @settings(deadline=None)
    def test_whatever_comes_is_commands_and_never_an_exception(self, messages: list[bytes]) -> None:
        talk = Talk(None)
        talk.send(frame("CONNECT", accept_version="1.2"))
        for message in messages:
            found = talk.send(message)
            for command in found[:-1]:
                self.assertNotIsInstance(command, commands.Invalid)
            if found and isinstance(found[-1], commands.Invalid):
                told, end = talk.obey(found[-1:])
                self.assertTrue((told or b"").startswith(b"ERROR\n"))
                self.assertIsNotNone(end)
