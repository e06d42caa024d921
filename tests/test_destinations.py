"""The address grammar."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge.destinations import UNSERVED, Destination, parse
from twbridge.errors import BadDestination


def short(minimum: int) -> st.SearchStrategy[str]:
    return st.text(min_size=minimum, max_size=255).filter(lambda text: len(text.encode()) <= 255)


destinations = st.one_of(
    st.builds(Destination, st.just("exchange"), short(1), short(0)),
    st.builds(Destination, st.just("topic"), st.just(""), short(0)),
    st.builds(
        Destination,
        st.sampled_from(["queue", "amq-queue", "stream", "temp-queue", "reply-queue", "task"]),
        short(1),
    ),
)


class ParseTests(SynchronousTestCase):
    def test_the_table_of_the_grammar(self) -> None:
        for text, kind, name, key, exchange, routing_key in (
            ("/exchange/a", "exchange", "a", "", "a", ""),
            ("/exchange/a/", "exchange", "a", "", "a", ""),
            ("/exchange/a/b.#", "exchange", "a", "b.#", "a", "b.#"),
            ("/topic/chat.*", "topic", "", "chat.*", "amq.topic", "chat.*"),
            ("/queue/q", "queue", "q", "", "", "q"),
            ("/amq/queue/q", "amq-queue", "q", "", "", "q"),
            ("/stream/s", "stream", "s", "", "", "s"),
            ("/temp-queue/t", "temp-queue", "t", "", "", "t"),
            ("/reply-queue/r", "reply-queue", "r", "", "", "r"),
            ("/task/add", "task", "add", "", "", "twbridge.task.add"),
            ("/queue/a%2Fb%25", "queue", "a/b%", "", "", "a/b%"),
            ("/topic/h%C3%A9llo", "topic", "", "héllo", "amq.topic", "héllo"),
            ("/topic/héllo", "topic", "", "héllo", "amq.topic", "héllo"),
        ):
            found = parse(text)
            self.assertEqual(found, Destination(kind, name, key))  # type: ignore[arg-type]
            self.assertEqual((found.exchange, found.routing_key), (exchange, routing_key))

    def test_the_sentence_offers_what_there_is(self) -> None:
        with self.assertRaises(BadDestination) as caught:
            parse("/nowhere")
        for kind in ("temp-queue", "task"):
            self.assertIn(kind, UNSERVED)
            self.assertNotIn(kind, str(caught.exception))
        for kind in ("exchange", "topic", "queue", "amq/queue", "stream"):
            self.assertIn(f"/{kind}/<", str(caught.exception))

    def test_what_is_outside_the_grammar_is_refused_with_one_sentence(self) -> None:
        for text in (
            "",
            "/",
            "topic/a",
            "/topic",
            "/topic/a/b",
            "/exchange",
            "/exchange/",
            "/exchange//key",
            "/exchange/a/b/c",
            "/queue/",
            "/queue/a/b",
            "/amq/a",
            "/amq-queue/a",
            "/nothing/a",
            "/topic/a\n",
            "/topic/%",
            "/topic/%zz",
            "/topic/%ff",
            "/topic/\ud800",
            "/topic/" + "a" * 256,
            "/queue/" + "%C3%A9" * 128,
            "/topic/" + "a" * 10_000,
        ):
            error = self.assertRaises(BadDestination, parse, text)
            self.assertTrue(str(error).endswith("."), str(error))
            self.assertLess(len(str(error)), 300)
            self.assertTrue(str(error).isascii())

    @given(destinations)
    def test_the_canonical_form_reads_back(self, destination: Destination) -> None:
        found = parse(str(destination))
        self.assertEqual(found, destination)
        self.assertEqual(str(found), destination.canonical)
        self.assertEqual(found.canonical, destination.canonical)

    @given(st.text(max_size=40) | st.text(alphabet="/%exchangtopiqu#.*2F", max_size=40))
    def test_any_text_is_a_destination_or_refused(self, text: str) -> None:
        for candidate in (text, "/topic/" + text, "/exchange/" + text):
            try:
                found = parse(candidate)
            except BadDestination:
                continue
            self.assertEqual(str(found), candidate)
            self.assertEqual(parse(found.canonical), found)

    def test_spelling_does_not_matter_but_is_kept(self) -> None:
        one, other = parse("/topic/a.#"), parse("/topic/a.%23")
        self.assertEqual(one, other)
        self.assertEqual(hash(one), hash(other))
        self.assertEqual(str(other), "/topic/a.%23")

    def test_only_exchanges_and_topics_are_live(self) -> None:
        self.assertTrue(parse("/topic/a").live)
        self.assertTrue(parse("/exchange/a").live)
        self.assertFalse(parse("/queue/a").live)
