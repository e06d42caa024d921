"""A file of users as ``htpasswd -B`` writes it: ``name:bcrypt hash`` lines (pure, but reads it).

Other hashes that ``htpasswd`` can write (MD5, SHA-1, crypt) can be tried by the billion a second,
and are mistakes. So are two lines of one user. Empty lines and those that begin with ``#`` are
nobody; what follows a second colon is a comment. No text of a mistake quotes a line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from twisted.logger import Logger

from twbridge.errors import SettingsError

__all__ = ["MAX_BYTES", "MAX_COST", "Users", "read"]

_log = Logger()

MAX_BYTES = 1_048_576
"""Bytes of a file: some 12,000 users."""
MAX_COST = 17
"""The highest cost that htpasswd writes; checking it takes seconds, and one more twice as many."""

_BCRYPT = re.compile(
    r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]"
)
"""22 characters of salt and 31 of the hash; the last of each has fewer bits than six."""
_OTHER = {
    "$apr1$": "an MD5 hash",
    "$1$": "an MD5 hash",
    "$5$": "a SHA-256 hash",
    "$6$": "a SHA-512 hash",
    "{SHA}": "a SHA-1 hash",
    "{SSHA}": "a SHA-1 hash",
    "$y$": "a yescrypt hash",
    "$argon2": "an Argon2 hash",
}

_Stamp = tuple[int, int, int]


class Users:
    """The users of a file, read again when that has changed.

    A file that has become wrong, or has gone, is logged once, and the users stay as they were.

    Args:
        path: where it is.

    Raises:
        SettingsError: it can't be read, or has a mistake; the text names the line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._hashes = read(path)
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """How often the users have changed. Looks at the file."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._hashes = read(self._path)
            except SettingsError as error:
                _log.error("auth.file: {error}; the users stay as they were", error=error)
            else:
                self._epoch += 1
                _log.info("auth.file was read again: {path}", path=str(self._path))
        return self._epoch

    @property
    def hashes(self) -> Mapping[str, bytes]:
        """The bcrypt hash of each user; never empty."""
        return self._hashes


def read(path: Path) -> dict[str, bytes]:
    """The bcrypt hash of each user.

    Raises:
        SettingsError: it can't be read, or has a mistake; the text names the line.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"can't be read: {error.strerror}: {path}") from None
    if len(data) > MAX_BYTES:
        raise SettingsError(f"has more than {MAX_BYTES} bytes: {path}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"is not UTF-8: {path}") from None
    found: dict[str, bytes] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, hashed = _user(line.rstrip())
            if name in found:
                raise ValueError(f"names the same user as line {lines[name]}")
        except ValueError as error:
            raise SettingsError(f"line {number} of {path} {error}") from None
        found[name], lines[name] = hashed, number
    if not found:
        raise SettingsError(f"names no user: {path}")
    return found


def _user(line: str) -> tuple[str, bytes]:
    name, *fields = line.split(":")
    if not fields or not name:
        raise ValueError('must be "name:hash", as htpasswd -B writes it')
    match = _BCRYPT.fullmatch(fields[0])
    if match is None and fields[0].startswith("$2"):
        raise ValueError("has a bcrypt hash that is not whole")
    if match is None:
        kinds = (what for start, what in _OTHER.items() if fields[0].startswith(start))
        kind = next(kinds, "plain text or a hash that is not known")
        raise ValueError(f"has {kind}; only bcrypt is taken: use htpasswd -B")
    if not 4 <= int(match[1]) <= MAX_COST:
        raise ValueError(f"has a bcrypt cost that is not 4 to {MAX_COST}")
    return name, fields[0].encode()


def _stamp(path: Path) -> _Stamp | None:
    """What differs when the file was written or replaced; None where it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
