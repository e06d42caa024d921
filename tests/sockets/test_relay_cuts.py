"""Where the bytes of requests are cut makes no difference, and no byte is read in two ways."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.sockets.relays import RelayCase, Side, Wire, post, request
from tests.web.harness import Nobody, answers
from twbridge.sockets.front import FrontFactory, FrontLimits
from twbridge.sockets.heads import Head
from twbridge.sockets.origins import Client
from twbridge.sockets.sides import IAnswering

DATE = ("Date", "Sat, 21 Nov 2026 15:00:00 GMT")


class Echo:
    """Answers with the body, when it is whole; in pieces or not."""

    def __init__(self, head: Head, out: IAnswering, streams: bool) -> None:
        self.seen = (head.method, head.target)
        self.body = b""
        self._out = out
        self._streams = streams

    def upload(self, data: bytes, more: bool) -> None:
        self.body += data
        if more:
            self._out.read_on()
        elif self._streams:
            self._out.start(200, "OK", [DATE], self.body[:3], True)
            self._out.part(self.body[3:], False)
        else:
            self._out.start(200, "OK", [DATE], self.body, False)

    def drained(self, size: int) -> None:
        pass

    def gone(self) -> None:
        pass


class EchoSide(Side):
    """Keeps them."""

    def __init__(self, streams: bool) -> None:
        super().__init__()
        self.echoes: list[Echo] = []
        self._streams = streams

    def relay(self, head: Head, client: Client, length: int | None, out: IAnswering) -> Echo:  # type: ignore[override]
        self.echoes.append(Echo(head, out, self._streams))
        return self.echoes[-1]


class Result(NamedTuple):
    """What became of some bytes."""

    requests: list[tuple[str, str, bytes]]
    answers: bytes


def result(data: bytes, cuts: list[int], streams: bool = False) -> Result:
    """Sends bytes in pieces, to a door of their own."""
    clock, side = Clock(), EchoSide(streams)
    limits = FrontLimits(requests=10)
    front = FrontFactory(Nobody(), Nobody(), relays=side.find, clock=clock, limits=limits)
    wire = Wire(clock, IPv4Address("TCP", "192.0.2.1", 50_000))
    wire.protocol = front.buildProtocol(wire.peer)
    wire.protocol.makeConnection(wire)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    start = 0
    for end in ends:
        wire.deliver(data[start:end])
        start = end
    return Result([(*each.seen, each.body) for each in side.echoes], wire.received)


def chunks(body: bytes, sizes: list[int]) -> bytes:
    """A request whose body comes in chunks of these sizes, and again."""
    found, at, turn = [], 0, 0
    while at < len(body):
        piece = body[at : at + sizes[turn % len(sizes)]]
        found.append(b"%X;a=b\r\n%b\r\n" % (len(piece), piece))
        at, turn = at + len(piece), turn + 1
    found.append(b"000\r\nX-T: 1\r\n\r\n")
    return request("PUT", "Transfer-Encoding: chunked", body=b"".join(found))


BODIES = st.binary(max_size=200)
REQUESTS = st.one_of(
    st.just(request("GET")),
    st.just(request("HEAD")),
    BODIES.map(post),
    st.builds(chunks, BODIES, st.lists(st.integers(1, 90), min_size=1, max_size=3)),
)
CUTS = st.lists(st.integers(0, 3_000), max_size=20)


class CutTests(SynchronousTestCase):
    """Any cuts."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(REQUESTS, min_size=1, max_size=6), CUTS, st.booleans())
    def test_of_requests_in_a_row(self, requests: list[bytes], cuts: list[int], many: bool) -> None:
        data = b"".join(requests)
        whole = result(data, [], many)
        self.assertEqual(len(whole.requests), len(requests))
        self.assertEqual(result(data, cuts, many), whole)
        self.assertEqual(result(data, list(range(len(data))), many), whole)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(REQUESTS, min_size=1, max_size=4),
        st.integers(0, 2_000),
        st.binary(max_size=3),
        st.integers(0, 3),
        CUTS,
    )
    def test_of_requests_that_are_broken(
        self, requests: list[bytes], at: int, put: bytes, away: int, cuts: list[int]
    ) -> None:
        data = b"".join(requests)
        data = data[:at] + put + data[at + away :]
        whole = result(data, [])
        self.assertEqual(result(data, cuts).requests, whole.requests)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.integers(0, 200_000), max_size=5), st.integers(100, 70_000))
    def test_of_large_bodies(self, cuts: list[int], size: int) -> None:
        body = bytes(range(251)) * 600
        data = chunks(body, [size]) + post(body) + request("GET")
        found = result(data, cuts, streams=True)
        self.assertEqual([each[2] for each in found.requests], [body, body, b""])


class SmugglingTests(RelayCase):
    """What another reader before or behind us may read otherwise."""

    def refused(self, data: bytes, status: int = 400) -> None:
        self.side.body = b"hello"
        before = len(self.side.requests)
        wire = self.ask(data + request("GET"))
        self.clock.advance(0)
        found = answers(wire.take())
        self.assertEqual([each.status for each in found], [status], data)
        self.assertEqual(len(self.side.requests), before)
        wire.lose(ConnectionDone())

    def test_two_lengths(self) -> None:
        both = ("Content-Length: 3", "Transfer-Encoding: chunked")
        for lines in (
            both,
            both[::-1],
            ("Content-Length: 3", "Content-Length: 3"),
            ("Content-Length: 3", "content-length: 4"),
            ("Content-Length: 3, 3",),
            ("Content-Length: +3",),
            ("Content-Length: 0x3",),
            ("Content-Length:",),
            ("Content-Length: 3", "Content-Length:"),
            ("Transfer-Encoding: gzip, chunked",),
            ("Transfer-Encoding: chunked, chunked",),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding: \x0bchunked",),
            ("Transfer-Encoding : chunked",),
            ("Transfer-Encoding:", " chunked"),
            (" Transfer-Encoding: chunked",),
        ):
            self.refused(request("POST", *lines, body=b"0\r\n\r\n"))

    def test_chunks_of_HTTP_1_0(self) -> None:
        self.refused(
            request("POST", "Transfer-Encoding: chunked", version="1.0", body=b"0\r\n\r\n")
        )

    def test_two_hosts(self) -> None:
        self.refused(request("GET", "Host: localhost"))

    def test_chunks_with_other_line_ends(self) -> None:
        for body in (
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\rX\nabc\r\n0\r\n\r\n",
            b"3;a\nb\r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\r\n0\r\nX: a\nY: b\r\n\r\n",
        ):
            self.refused(request("POST", "Transfer-Encoding: chunked", body=body))

    def test_a_request_in_a_body_is_none(self) -> None:
        self.side.body = b"hello"
        wire = self.ask(post(request("DELETE")) + request("GET"))
        self.assertEqual(len(answers(wire.take())), 2)
        self.assertEqual([each.head.method for each in self.side.requests], ["POST", "GET"])
