"""What logging in promises to a session, and who answers behind it (sans-I/O)."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

__all__ = ["Checker", "Source"]


class Checker(Protocol):
    """Says who a client is."""

    def check(
        self, user: str | None, password: str | None, *, local: bool = False
    ) -> Deferred[str]:
        """Check a user name and a password; None is one that the client did not send.

        Cancel the Deferred when the client has gone: what nobody waits for is not asked.

        Args:
            local: whether the client is on this machine (``Peer.loopback``). The broker can't see
                that, and its user ``guest`` with the password ``guest`` is for such clients only.

        Returns:
            Fires with the user's name. Fails with:

            - Unauthenticated: nobody has this name and password.
            - NotReady: who knows could not be asked. The same login may be right later.
            - Busy: too many logins wait. The same login may be right later.

            None of them, and no log line, holds the password.
        """


class Source(Protocol):
    """Who knows the users: a file, or a broker."""

    @property
    def epoch(self) -> int:
        """Changes when answers may have changed; what was remembered before is forgotten."""

    def ask(self, user: str, password: str, seconds: float) -> Deferred[bool]:
        """Whether this is a user and its password, in ``seconds`` if that is in its hands.

        Fails with NotReady. It takes as long for a user that does not exist.
        """
