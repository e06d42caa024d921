"""What the doors know of the settings."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twbridge.daemon.doors import chat_stream
from twbridge.settings import Route, Settings, Stream


class ChatStreamTests(SynchronousTestCase):
    """The stream that the chat page reads."""

    def stream(self, *streams: tuple[str, tuple[str, ...]], **route: Any) -> str:
        return chat_stream(
            Settings(
                route=(Route(**route),),
                stream=tuple(
                    Stream(name=name, max_age="7D", bindings=bindings) for name, bindings in streams
                ),
            )
        )

    def test_it_is_the_first_that_is_bound_to_what_the_page_shows(self) -> None:
        chat = "/exchange/twbridge.chat/#"
        self.assertEqual(
            self.stream(("a", ("/topic/a",)), ("b", ("/topic/a", chat)), ("c", (chat,))),
            "/stream/b",
        )

    def test_its_name_is_encoded(self) -> None:
        self.assertEqual(
            self.stream(("a/b %", ("/exchange/amq.topic/c",)), subscribe="/topic/c"),
            "/stream/a%2Fb%20%25",
        )

    def test_without_one_there_is_none(self) -> None:
        self.assertEqual(self.stream(), "")
        self.assertEqual(self.stream(("a", ("/topic/a",))), "")
        self.assertEqual(self.stream(("a", ("/topic/a",)), subscribe="/queue/a"), "")
