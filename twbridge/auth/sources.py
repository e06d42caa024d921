"""The users of an htpasswd file as a source: bcrypt in threads, as slow for users that are none."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from secrets import token_bytes
from typing import Any

import bcrypt
from twisted.internet.defer import Deferred

from twbridge.auth.htpasswd import Users

__all__ = ["BCRYPT_BYTES", "FileSource"]

BCRYPT_BYTES = 72
"""Bytes of a password that bcrypt reads; the rest of a longer one counts for nothing, as it
counted for nothing when htpasswd made the hash."""

InThread = Callable[..., "Deferred[Any]"]


class FileSource:
    """Users of a file.

    Args:
        path: an htpasswd file.
        in_thread: calls a function with arguments in a thread, and gives a Deferred.

    Raises:
        SettingsError: the file has a mistake.
    """

    def __init__(self, path: Path, in_thread: InThread) -> None:
        self._users = Users(path)
        self._in_thread = in_thread
        self._key = token_bytes(32)

    @property
    def epoch(self) -> int:
        """Changes when the file was read again."""
        return self._users.epoch

    def ask(self, user: str, password: str, seconds: float) -> Deferred[bool]:
        """Whether the file has this user with this password. A thread can't be hurried."""
        hashes = self._users.hashes
        stand_in = self._stand_in(user, list(hashes))
        hashed = hashes.get(user)
        compared = hashes[stand_in] if hashed is None else hashed
        secret = password.encode()[:BCRYPT_BYTES]
        answer: Deferred[bool] = self._in_thread(bcrypt.checkpw, secret, compared)
        # Who does not exist has no password, not even that of the user in whose place it stands.
        return answer.addCallback(lambda same: same and hashed is not None)

    def _stand_in(self, user: str, names: list[str]) -> str:
        """Whose hash is compared for a user that does not exist: always the same one's.

        So their answers take as long as those of real users, whatever costs the file has.
        """
        digest = blake2b(user.encode(), key=self._key, digest_size=8).digest()
        return names[int.from_bytes(digest) % len(names)]
