"""Plays the scenarios to a server, and compares what two servers say."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tests.integration import witness
from tests.integration.stomp_client import Listener
from tests.integration.stomp_scenarios import Scenario, Step, frame

__all__ = ["Listener", "Play", "difference", "transcripts"]

#: Scenarios at a time on each server.
AT_ONCE = 12
#: What nobody waits for comes within this after the answer to the last frame.
STRAY_SECONDS = 0.15

_MARK = re.compile(r"<(x|back|ack -?\d+|id -?\d+)>")
_RANKS = ("CONNECTED", "MESSAGE", "RECEIPT", "ERROR", "closed")


class Play:
    """One scenario on one server.

    Args:
        scenario: that.
        url: of the server.
        ends: whether it closes the connection after an ERROR, which is waited for.
    """

    def __init__(self, scenario: Scenario, url: str, ends: bool) -> None:
        self.word = uuid.uuid4().hex[:12]
        self.lines: list[str] = []
        self.listeners: dict[str, Listener] = {}
        self._scenario = scenario
        self._url = url
        self._ends = ends
        self._back = ""

    def run(self) -> None:
        """Play it."""
        try:
            for step in self._scenario.steps:
                self._step(step)
            self._strays()
        finally:
            for listener in self.listeners.values():
                listener.cut()

    def _step(self, step: Step) -> None:
        listener = self.listeners.get(step.by)
        if listener is None:
            listener = self.listeners[step.by] = Listener(self._url)
            version = self._scenario.version
            if version is not None:
                words = (f"accept-version:{version}", "login:guest", "passcode:guest")
                listener.say(frame("CONNECT", *words))
                assert listener.hear(1)[0].startswith("CONNECTED"), self._scenario.name
        if listener.end is not None or listener.errors:
            return
        for message in step.says:
            listener.say(self._filled(message, listener))
        self._keep(step.by, listener.hear(step.hears, beats=step.beats))
        if listener.messages:
            self._back = listener.messages[-1].headers.get("reply-to", self._back)
        if step.then == "leave":
            listener.leave()
        elif step.then == "cut":
            listener.cut()
            listener.end = (1006, "")

    def _keep(self, by: str, heard: Iterable[str]) -> None:
        prefix = "" if by == "a" else f"{by}: "
        shown = [f"{prefix}{line}".replace(self.word, "<x>") for line in heard]
        self.lines += sorted(shown, key=_rank)

    def _strays(self) -> None:
        """What else comes, before the answer to a frame that is behind all others."""
        for by, listener in self.listeners.items():
            if listener.errors:
                if self._ends:
                    self._keep(by, listener.hear(1000))
            elif listener.end is None:
                if self._scenario.version is not None:
                    listener.say(frame("BEGIN", "transaction:end", "receipt:end"))
                    lines = []
                    while "RECEIPT receipt-id=end" not in lines and listener.end is None:
                        more = listener.hear(1)
                        if not more:
                            break
                        lines += more
                    lines += listener.hear(1000, STRAY_SECONDS)
                    self._keep(by, (line for line in lines if line != "RECEIPT receipt-id=end"))
                else:
                    self._keep(by, listener.hear(1000, STRAY_SECONDS))

    def _filled(self, message: str | bytes, listener: Listener) -> str | bytes:
        def value(found: re.Match[str]) -> str:
            what, _, number = found[1].partition(" ")
            if what == "x":
                return self.word
            if what == "back":
                return self._back
            index = int(number)
            try:
                frame = listener.messages[index - 1 if index > 0 else index]
            except IndexError:
                return "T_1@@none@@1"
            return frame.headers.get("ack" if what == "ack" else "message-id", "none")

        if isinstance(message, str):
            return _MARK.sub(value, message)
        return message.replace(b"<x>", self.word.encode())


def _rank(line: str) -> tuple[str, int, str]:
    """By client and by kind; MESSAGEs stay in the order of their subscription."""
    by, _, rest = line.partition(": ") if line[1:3] == ": " else ("a", "", line)
    command = rest.partition(" ")[0]
    rank = _RANKS.index(command) if command in _RANKS else len(_RANKS)
    if command == "MESSAGE":
        found = re.search(r" subscription=(\S+)", rest)
        return by, rank, found[1] if found else ""
    return by, rank, rest


def transcripts(
    scenarios: Iterable[Scenario], url: str, amqp_url: str, ends: bool = False
) -> dict[str, Play]:
    """What a server says to each of them."""
    plays = {each.name: Play(each, url, ends) for each in scenarios}
    _prepare(plays.values(), amqp_url)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(Play.run, plays.values()))
    return plays


def _prepare(plays: Iterable[Play], amqp_url: str) -> None:
    """Make the streams and exchanges that they need."""
    with witness.channel(amqp_url) as channel:
        for play in plays:
            said = str(play._scenario.steps)
            if "<x>.fanout" in said:
                channel.exchange_declare(f"{play.word}.fanout", "fanout", durable=True)
            if "<x>.stream" in said:
                arguments = {"x-queue-type": "stream"}
                channel.queue_declare(f"{play.word}.stream", durable=True, arguments=arguments)


def difference(theirs: list[str], ours: list[str]) -> tuple[list[str], list[str]]:
    """What only one of the two has heard."""
    left, right = Counter(theirs), Counter(ours)
    return sorted((left - right).elements()), sorted((right - left).elements())
