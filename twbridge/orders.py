"""What a client asks, carried out (sans-I/O).

Commands of one client are carried out in their order, each begun when the one before was begun.
But all wait for a login; and where the dialect keeps order, a publish waits for what was subscribed
before, so that its message comes to it, and an unsubscribe too, so that what it ends has been. What
declares a queue waits for what has ended before and that the broker has not let go yet. All that
follows waits behind (``turns.py``). What can't be done is refused, with the name of what was asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.logger import Logger
from twisted.python.failure import Failure

from twbridge import commands
from twbridge.calls import Calls
from twbridge.commands import Command, Event, Id
from twbridge.destinations import Destination
from twbridge.dialects.interfaces import ICodec
from twbridge.errors import (
    BadDestination,
    BadFrame,
    NotFound,
    TwbridgeError,
    UnknownOperation,
)
from twbridge.policy import Peer
from twbridge.ports import Services, Transport
from twbridge.publishes import check, publish
from twbridge.subscriptions.held import Held, Holder
from twbridge.turns import BY_ANSWERS, BY_LINK, State, Turns

__all__ = ["CARRIED_OUT", "Orders", "State"]

_log = Logger()


_NONSENSE = (BadFrame, BadDestination, UnknownOperation)


class Orders(Turns, Holder, ABC):
    """The half of a session that obeys its client.

    Args:
        services: what all sessions share.
        peer: who it is.
        codec: its dialect's codec.
        transport: its socket.
    """

    __slots__ = (
        "_calls",
        "_codec",
        "_held",
        "_leaving",
        "_login",
        "_nonsense",
        "_opening",
        "_pending",
        "_services",
        "peer",
    )

    def __init__(self, services: Services, peer: Peer, codec: ICodec, transport: Transport) -> None:
        super().__init__(transport)
        self.peer = peer
        self._services = services
        self._codec = codec
        self._held = Held(services)
        self._login: Deferred[Any] | None = None
        # Subscriptions that don't stand yet.
        self._opening = 0
        # Publishes without an answer; and who leaves when nothing is under way.
        self._pending = 0
        self._leaving: commands.Disconnect | None = None
        # None: most sessions never call anything.
        self._calls: Calls | None = None
        self._nonsense = 0

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """End it."""

    @abstractmethod
    def relieved(self) -> None:
        """The link takes data again."""

    @abstractmethod
    def released(self) -> None:
        """What commands waited for is there: ``_go_on`` comes next, if the client is."""

    @abstractmethod
    def logged_in(self, user: str | None, identity: Id) -> None:
        """The login is granted: ``_log_in`` comes next, if the client is still there."""

    def _obey(self, command: Command) -> None:
        carry_out, operation = CARRIED_OUT[type(command)]
        try:
            carry_out(self, command)
        except TwbridgeError as error:
            named = getattr(command, "destination", None)
            self._refuse(commands.Refused(command.id, error, operation, named))
        else:
            self._nonsense = 0

    def _refuse(self, refused: commands.Refused) -> None:
        self._say(refused)
        if isinstance(refused.error, _NONSENSE):
            self._nonsense += 1
            if self._nonsense >= self._services.limits.nonsense:
                self.close(1008, f"{self._nonsense} frames in a row made no sense.")

    def _invalid(self, command: commands.Invalid) -> None:
        raise command.error

    def _ping(self, command: commands.Ping) -> None:
        self._say(commands.Pong(command.id))

    def _connect(self, command: commands.Connect) -> None:
        checker = self._services.checker
        self._wait()
        if checker is None:
            login: Deferred[Any] = execute(self._services.policy.check_anonymous, self.peer)
        else:
            login = checker.check(command.user, command.password, local=self.peer.loopback)
        self._login = login
        login.addCallbacks(
            self.logged_in,
            self._not_granted,
            callbackArgs=(command.id,),
            errbackArgs=(command.id,),
        )

    def _not_granted(self, failure: Failure, identity: Id) -> None:
        if failure.check(CancelledError):
            return  # the client has gone
        error = self._answer_refused(failure, identity, "connect")
        self.close(error.close_code, error.public)

    def _log_in(self, user: str | None, identity: Id) -> None:
        self._login = None
        self.peer.user = user
        self._say(commands.Connected(identity, user))
        if self._codec.beats is not None and self._state is State.OPEN:
            self._transport.beat(*self._codec.beats, self._codec.beat)
        self._go_on()

    def _settled(self) -> None:
        """Something is no longer under way: a subscription stands or was refused, or has ended."""
        if self._waits and self._login is None:
            self.released()
        self._leave()

    def _stood(self) -> None:
        self._opening -= 1
        if not self._opening:
            self._settled()

    def _disconnect(self, command: commands.Disconnect) -> None:
        self._leaving = command
        self._leave()

    def _leave(self) -> None:
        leaving = self._leaving
        if leaving is None or self._pending or self._opening or self._held.ending:
            return
        self._leaving = None
        self.tell(commands.Disconnected(leaving.id))

    def _subscribe(self, command: commands.Subscribe) -> None:
        if self._held.is_early(command):
            self._wait(command)
            return
        opened = self._held.open(command, self)
        self._opening += 1
        opened.addCallbacks(
            self._subscribed,
            self._not_subscribed,
            callbackArgs=(command,),
            errbackArgs=(command.id, command.destination),
        )

    def _subscribed(self, _result: None, command: commands.Subscribe) -> None:
        self.tell(commands.Subscribed(command.id, command.destination, command.name))
        self._stood()

    def _not_subscribed(self, failure: Failure, identity: Id, destination: Destination) -> None:
        self._answer_refused(failure, identity, "subscribe", destination)
        self._stood()

    def _unsubscribe(self, command: commands.Unsubscribe) -> None:
        if self._opening and self._codec.ordered:
            self._wait(command)
            return
        ended = self._held.end(command, self)
        if ended is None:
            self._unsubscribed(None, command)
        else:
            ended.addCallback(self._unsubscribed, command)
            ended.addCallback(lambda _: self._settled())

    def _unsubscribed(self, _result: None, command: commands.Unsubscribe) -> None:
        self.tell(commands.Unsubscribed(command.id, command.destination, name=command.name))

    def _ack(self, command: commands.Ack) -> None:
        self._held.acknowledging(command).ack(command.delivery_tag, command.multiple)
        self._say(commands.Acknowledged(command.id))

    def _nack(self, command: commands.Nack) -> None:
        subscription = self._held.acknowledging(command)
        subscription.nack(command.delivery_tag, command.requeue, command.multiple)
        self._say(commands.Acknowledged(command.id))

    def _publish(self, command: commands.Publish) -> None:
        if self._opening and self._codec.ordered:
            self._wait(command)
            return
        services = self._services
        if command.reply is None:
            published = publish(command, self.peer, services, self._codec.resends)
        else:
            published = self._held.reply(command.reply, self)
            self._opening += 1
            published.addBoth(self._reply_stands, command)
        self._pending += 1
        published.addCallbacks(
            self._published,
            self._not_published,
            callbackArgs=(command.id,),
            errbackArgs=(command.id, command.destination),
        )
        if self._pending >= services.limits.publishes:
            self._hold(BY_ANSWERS)
        if services.gate.shut:
            self._hold_by_link()

    def _reply_stands(self, result: Failure | None, command: commands.Publish) -> Any:
        try:
            if result is None:
                return publish(command, self.peer, self._services, self._codec.resends)
            return result
        finally:
            self._stood()

    def _published(self, _result: None, identity: Id) -> None:
        self._pending -= 1
        if self._paused:
            self._read_again()
        self.tell(commands.Published(identity))
        if self._leaving is not None:
            self._leave()

    def _not_published(self, failure: Failure, identity: Id, destination: Destination) -> None:
        self._pending -= 1
        self._read_again()
        self._answer_refused(failure, identity, "publish", destination)
        if self._leaving is not None:
            self._leave()

    def _commit(self, command: commands.Commit) -> None:
        replies: set[Destination | str] = set()
        for each in command.commands:
            if not isinstance(each, commands.Publish):
                continue
            try:
                check(each, self.peer, self._services)
                if each.reply is not None:
                    self._held.check_reply(each.reply, replies)
            except TwbridgeError as error:
                self._refuse(commands.Refused(each.id, error, "publish", each.destination))
                return
        self._obey_first(command.commands)

    def _call(self, command: commands.Call) -> None:
        if self._calls is None:
            self._calls = Calls(self._services, self.peer, self.tell, self._answer_refused)
        self._calls.begin(command)
        if self._services.gate.shut:
            self._hold_by_link()

    def _cancel(self, command: commands.Cancel) -> None:
        if self._calls is None:
            raise NotFound("There is no call with this id under way.")
        self._calls.cancel(command.id)

    def _answer_refused(
        self,
        failure: Failure,
        identity: Id,
        operation: str,
        destination: Destination | None = None,
    ) -> TwbridgeError:
        error = failure.value
        if not isinstance(error, TwbridgeError):
            what = "{session!r} could not {operation}"
            _log.failure(what, failure, session=self, operation=operation)
            error = TwbridgeError()
        self.tell(commands.Refused(identity, error, operation, destination))
        return error

    def _say(self, event: Event) -> None:
        message = self._codec.encode(event)
        if message is not None:
            self._transport.send(*message)
        end = self._codec.closing(event)
        if end is not None:
            self.close(*end)

    def _read_again(self) -> None:
        # Half way down, so that a busy publisher is not stopped and started for each message.
        if self._paused & BY_ANSWERS and self._pending <= self._services.limits.publishes // 2:
            self._let_go(BY_ANSWERS)

    def _hold_by_link(self) -> None:
        self._hold(BY_LINK)
        self._services.gate.wait(self)

    def _relieve(self) -> None:
        self._let_go(BY_LINK)


#: How each command is carried out, and its name in a refusal.
CARRIED_OUT: dict[type, tuple[Callable[[Orders, Any], None], str]] = {
    commands.Subscribe: (Orders._subscribe, "subscribe"),
    commands.Unsubscribe: (Orders._unsubscribe, "unsubscribe"),
    commands.Publish: (Orders._publish, "publish"),
    commands.Commit: (Orders._commit, "commit"),
    commands.Ack: (Orders._ack, "ack"),
    commands.Nack: (Orders._nack, "nack"),
    commands.Call: (Orders._call, "call"),
    commands.Cancel: (Orders._cancel, "cancel"),
    commands.Connect: (Orders._connect, "connect"),
    commands.Disconnect: (Orders._disconnect, "disconnect"),
    commands.Ping: (Orders._ping, "ping"),
    commands.Invalid: (Orders._invalid, ""),
}
