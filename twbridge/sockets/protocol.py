"""One WebSocket connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.util import encode_truncate
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twbridge.deflate import deflating, once
from twbridge.dialects.interfaces import Encoder
from twbridge.direct import direct, write_soon
from twbridge.flow import Outbox
from twbridge.frames import data_frame, pong_frame
from twbridge.sockets.beats import TOLERANCE, Beats
from twbridge.sockets.census import Lease
from twbridge.sockets.heads import Refusal
from twbridge.sockets.inbound import next_message
from twbridge.sockets.lean import Hush, slim, take_message
from twbridge.sockets.ports import ISession, Opening

if TYPE_CHECKING:
    from twbridge.sockets.factory import BridgeFactory

_PING: Final = b"\x89\x00"


def _dropped(_frame: bytes) -> None:
    """Where frames go once a connection closes."""


@implementer(IPushProducer)
class BridgeProtocol(WebSocketServerProtocol):
    """One WebSocket, the `Socket` of its session. Made by `BridgeFactory.admit`.

    Args:
        factory: its own.
        opening: what the head of the request decided.
        lease: released when the connection is lost.
    """

    _log = Logger()
    log = Hush()
    factory: BridgeFactory
    transport: Any

    heard = False
    _held = False
    _consuming = False
    _fragments = 0
    _isMessageCompressed: bool
    _pong: bytes | None = None
    _outbox: Outbox | None = None
    _session: ISession | None = None
    _beats: Beats | None = None
    _opening: Opening | None = None
    send_frame: Callable[[bytes], None] = staticmethod(_dropped)

    def __init__(self, factory: BridgeFactory, opening: Opening, lease: Lease) -> None:
        super().__init__()
        self.factory = factory
        self._opening = opening
        self._lease = lease

    # -- The handshake

    def onConnect(self, request: ConnectionRequest) -> str | None:
        assert self._opening is not None
        return self._opening[2]

    def succeedHandshake(self, res: object) -> None:
        self.websocket_extensions = self.factory.extensions(self.websocket_extensions)
        super().succeedHandshake(res)
        slim(self)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: object = None) -> None:
        """Answers in our words: Autobahn's repeat what the client sent."""
        self._log.debug("Handshake refused: {code}", code=code)
        sentence = "This is not a WebSocket handshake."
        if code >= 500 and code != 505:
            sentence = "Something went wrong inside the bridge."
        self.transport.write(Refusal(code, sentence).response())
        self.dropConnection(abort=False)

    def onOpen(self) -> None:
        assert self._opening is not None
        peer, codec, _ = self._opening
        self._outbox = Outbox(
            direct(self.transport), self.factory.options.send_buffer, self._overflow
        )
        self.send_frame = self._outbox.send
        self.transport.registerProducer(self, True)
        self.heard = False
        self.factory.opened(self)
        try:
            self._session = self.factory.open_session(peer, codec, self)
            self._session.opened()
        except Exception:
            self._fail("A session could not be opened")

    # -- What comes in

    def dataReceived(self, data: bytes) -> None:
        self.heard = True
        if self._beats is not None:
            self._beats.heard = True
        try:
            self.data = self.data + data if self.data else data
            self.consumeData()
        except Exception:
            self._fail("A connection failed")

    def consumeData(self) -> None:
        """As Autobahn's, but stops between frames while reading is paused."""
        if self.state == self.STATE_CONNECTING:
            self.processHandshake()
            return
        self._consuming = True
        try:
            self._take_messages()
            while not self._held and self.state != self.STATE_CLOSED and self.processData():
                pass
        finally:
            self._consuming = False

    def _take_messages(self) -> None:
        """The messages that need no state machine; what they leave is Autobahn's."""
        session = self._session
        if session is None or self.current_frame is not None or self.inside_message:
            return
        data, at = self.data, 0
        limit = min(self.factory.options.frame, self.factory.options.message)
        try:
            while not self._held and self.state == self.STATE_OPEN:
                found = next_message(data, at, limit)
                if found is None:
                    break
                payload, binary, at = found
                session.received(payload, binary)
        except Exception:
            self._fail("A session failed")
        finally:
            if at:
                self.data = data[at:]

    def onMessageBegin(self, isBinary: bool) -> None:
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self._fragments += 1
        if self._fragments > self.factory.options.fragments and self.failedByMe:
            # It was told, and goes on.
            self.dropConnection(abort=True)
        elif self._fragments > self.factory.options.fragments:
            self._fragments = 0
            self._fail_connection(1008, "too many fragments in one message")

    def onFrameData(self, payload: bytes) -> None:
        """As Autobahn's, which stops in the midst of what it can't inflate, and never sees the
        peer's close: the rest of such a message is read over.
        """
        if super().onFrameData(payload) is False:
            self._isMessageCompressed = False
            self.utf8validateIncomingCurrentMessage = False

    def onMessageEnd(self) -> None:
        """As Autobahn's, without a signal that nobody listens to."""
        parts = take_message(self)
        if not self.failedByMe and self._session is not None and self.state == self.STATE_OPEN:
            payload = parts[0] if len(parts) == 1 else b"".join(parts)
            self._tell(self._session.received, payload, self.message_is_binary)

    def onPing(self, payload: bytes) -> None:
        """Answers; while the peer does not read, only the latest (RFC 6455 section 5.5.3)."""
        if self.state != self.STATE_OPEN or self._outbox is None:
            return
        if self._outbox.paused:
            self._pong = payload
        else:
            self.transport.write(pong_frame(payload))

    # -- What goes out

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self.transport.write(data)

    def send(self, payload: bytes, binary: bool) -> None:
        outbox = self._outbox
        if outbox is None or outbox.paused:
            self.send_frame(data_frame(payload, binary))
        else:
            # Answers come many in a turn.
            write_soon(self.transport, data_frame(payload, binary))

    @property
    def writable(self) -> bool:
        return self._outbox is not None and not self._outbox.paused

    @property
    def room(self) -> int:
        return self.factory.options.send_buffer

    def encoder(self, encoder: Encoder) -> Encoder:
        if not self.factory.options.deflate:
            return encoder
        agreed = self._perMessageCompress
        return (
            once(encoder) if agreed is None else deflating(encoder, agreed.server_max_window_bits)
        )

    def _overflow(self) -> None:
        if self._session is not None:
            self._session.overflowed()
        self.close(1013, "You read too slowly.")

    def link_changed(self, state: str) -> None:
        """Tells the session that the link is in another state."""
        if self._session is not None:
            self._session.link_changed(state)

    def send_away(self, code: int, reason: str, seconds: float) -> None:
        """Closes, after the session has said when to come back."""
        if self._session is not None:
            self._tell(self._session.draining, seconds)
        self.close(code, reason)

    def pauseProducing(self) -> None:
        if self._outbox is not None:
            self._outbox.pauseProducing()

    def resumeProducing(self) -> None:
        # Its buffer was emptied: as good as a word from the peer.
        self.heard = True
        if self._outbox is None:
            return
        self._outbox.resumeProducing()
        if self._outbox.paused:
            return
        if self._pong is not None:
            payload, self._pong = self._pong, None
            self.transport.write(pong_frame(payload))
        if self._session is not None:
            self._tell(self._session.writable)

    def stopProducing(self) -> None:
        if self._outbox is not None:
            self._outbox.stopProducing()

    def unregisterProducer(self) -> None:
        if self._outbox is not None:
            self.transport.unregisterProducer()

    def beat(self, send: float, expect: float, payload: bytes) -> None:
        """Heart-beats of the dialect, until the end."""

        def send_one() -> None:
            if self.writable:
                self.send(payload, False)

        def silent() -> None:
            self.close(1002, f"No heart-beat for {TOLERANCE * expect:g} s.")

        if self._beats is not None:
            self._beats.stop()
        self._beats = Beats(
            self.factory.clock, send_one, silent, lambda: self._held, every=send, expect=expect
        )

    # -- Reading, on and off

    @property
    def deaf(self) -> bool:
        """Reading is paused."""
        return self._held

    def pause_reading(self) -> None:
        if not self._held and self.state == self.STATE_OPEN:
            self._held = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        if not self._held:
            return
        self._held = False
        if self._beats is not None:
            self._beats.heard = True
        if not self._consuming and self.data:
            self.dataReceived(b"")
        if not self._held:
            self.transport.resumeProducing()

    # -- The end

    def close(self, code: int, reason: str) -> None:
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=encode_truncate(reason, 123), isReply=False)

    def _tell(self, what: Callable[..., None], *values: object) -> None:
        """Calls a method of the session."""
        try:
            what(*values)
        except Exception:
            self._fail("A session failed")

    def _fail(self, what: str) -> None:
        """Our fault: the log has the traceback, the client a close code."""
        self._log.failure(what)
        if self.state == self.STATE_OPEN:
            self.close(1011, "something went wrong inside the bridge")
        else:
            self.drop("it failed")

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Every close frame leaves by this way, whoever wants it."""
        was_open = self.state == self.STATE_OPEN
        if was_open and self._outbox is not None:
            # No data after a close frame (RFC 6455 section 5.5.1).
            self._outbox.close()
            self.send_frame = _dropped
        super().sendCloseFrame(code=code, reasonUtf8=reasonUtf8, isReply=isReply)
        if was_open:
            self.factory.keepalive.closing(self)
            # Not at once: who closes may be in the midst of a broadcast.
            self.factory.clock.callLater(0, self._end)
            if not isReply:
                # Or the answer is never seen.
                self.resume_reading()

    def dropConnection(self, abort: bool = False) -> None:
        """As Autobahn's, but a peer that does not take the rest is dropped at the deadline.

        And a connection whose close was answered is not reset: that is no clean close to a browser
        (RFC 6455 section 7.1.1).
        """
        abort = abort and not self.wasClean
        super().dropConnection(abort=abort)
        if not abort and self.transport is not None:
            self.factory.keepalive.closing(self)

    def ping(self) -> None:
        if self._outbox is not None and not self._outbox.paused and self.state == self.STATE_OPEN:
            self.transport.write(_PING)

    def drop(self, why: str) -> None:
        self._log.debug("Dropped {peer}: {why}", peer=self.transport.getPeer(), why=why)
        self.state = self.STATE_CLOSED
        self.transport.abortConnection()

    def _end(self) -> None:
        if self._beats is not None:
            self._beats.stop()
        session, self._session = self._session, None
        if session is not None:
            try:
                session.lost()
            except Exception:
                self._log.failure("A session could not be ended")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self._outbox is not None:
            self._outbox.close()
        self.send_frame = _dropped
        self._outbox = None
        self._lease.release()
        self.factory.gone(self)
        self._end()
