"""AMQP topic patterns: matching, subsumption, and a table of many patterns (pure).

A routing key and a pattern are words between dots; the empty key has no word at all. ``*`` stands
for exactly one word, ``#`` for any number of them, none included. This is how RabbitMQ's topic
exchange reads them (``rabbit_exchange_type_topic.erl``), an empty word in ``a..b`` included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["Trie", "compile_pattern", "covers", "words"]

#: What :func:`covers` explores at most before it says no.
MAX_STEPS = 10_000

_Value = TypeVar("_Value")


def inner_hashes(pattern: str) -> int:
    """How many words of a pattern are a ``#`` with words behind: what costs time to match."""
    return words(pattern)[:-1].count("#")


def words(key: str) -> list[str]:
    """The words of a routing key or a pattern; none in the empty one."""
    return key.split(".") if key else []


def simplify(pattern: list[str]) -> list[str]:
    """The same pattern with at most one ``#`` in a run of wildcards, after its ``*``."""
    found: list[str] = []
    hashed = False
    for word in pattern:
        if word == "#":
            hashed = True
            continue
        if hashed and word != "*":
            found.append("#")
            hashed = False
        found.append(word)
    if hashed:
        found.append("#")
    return found


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a routing key matches ``pattern``.

    Its time grows with the product of both lengths at most, whatever the pattern.
    """
    wanted = simplify(words(pattern))
    if wanted == ["#"]:
        return lambda _key: True
    if "*" not in wanted and "#" not in wanted:
        return pattern.__eq__
    if wanted[-1] == "#" and "*" not in wanted and "#" not in wanted[:-1]:
        stem = ".".join(wanted[:-1])
        prefix = stem + "."
        return lambda key: key == stem or key.startswith(prefix)
    return lambda key: _matches(wanted, words(key))


def _matches(pattern: list[str], key: list[str]) -> bool:
    """Glob matching that goes back to the last ``#`` only, which is enough for globs."""
    at = start = 0
    hash_at = -1
    while start < len(key):
        word = pattern[at] if at < len(pattern) else None
        if word == "#":
            hash_at, resume = at, start
            at += 1
        elif word is not None and word in ("*", key[start]):
            at += 1
            start += 1
        elif hash_at >= 0:
            resume += 1
            at, start = hash_at + 1, resume
        else:
            return False
    return all(word == "#" for word in pattern[at:])


def covers(allowed: str, requested: str) -> bool:
    """Whether every key that the pattern ``requested`` matches is matched by ``allowed`` too.

    Exact, but for patterns built to be costly: those are answered with no after a bounded number
    of steps, which is the safe side.
    """
    right, left = simplify(words(allowed)), simplify(words(requested))
    known = set(right) - {"*", "#"}
    todo = [(0, _closure(right, {0}))]
    seen = set(todo)
    while todo:
        at, places = todo.pop()
        if at == len(left):
            if len(right) not in places:
                return False
            continue
        for step in _steps(left, at, places, right, known):
            if step not in seen:
                seen.add(step)
                todo.append(step)
        if len(seen) > MAX_STEPS:
            return False
    return True


def _steps(
    left: list[str], at: int, places: frozenset[int], right: list[str], known: set[str]
) -> Iterable[tuple[int, frozenset[int]]]:
    """What can come next on the left, and where the right can be then.

    A wildcard on the left stands for each word the right knows, and for one that it doesn't (the
    None): words that the right does not name are all alike to it.
    """
    word = left[at]
    if word == "#":
        yield at + 1, places
    choices: Iterable[str | None] = [*known, None] if word in ("*", "#") else [word]
    after = at if word == "#" else at + 1
    for choice in choices:
        moved = {place for place in places if place < len(right) and right[place] == "#"}
        moved |= {
            place + 1
            for place in places
            if place < len(right) and (right[place] == "*" or right[place] == choice)
        }
        yield after, _closure(right, moved)


def _closure(pattern: list[str], places: set[int]) -> frozenset[int]:
    """The places reached without a word: a ``#`` may stand for none."""
    for place in sorted(places):
        while place < len(pattern) and pattern[place] == "#":
            place += 1
            places.add(place)
    return frozenset(places)


class _Node(Generic[_Value]):
    """A place in a trie. ``value`` is that of the pattern that ends here."""

    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.children: dict[str, _Node[_Value]] = {}
        self.value: _Value | None = None


class Trie(Generic[_Value]):
    """Many patterns, each with a value; finds the values of all that match a key.

    The time of a look-up grows with the words of the key and the patterns that go along with it,
    not with the number of patterns. ``a.#.#`` and ``a.#`` are two patterns: the value of each is
    found once.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[_Value] = _Node()

    def add(self, pattern: str, value: _Value) -> None:
        """Put a pattern in; its value replaces an earlier one of the same pattern."""
        node = self._root
        for word in words(pattern):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = _Node()
            node = child
        node.value = value

    def remove(self, pattern: str) -> None:
        """Take a pattern out, and what only it needed.

        Raises:
            KeyError: it is not there.
        """
        path = [self._root]
        wanted = words(pattern)
        for word in wanted:
            path.append(path[-1].children[word])
        if path[-1].value is None:
            raise KeyError(pattern)
        path[-1].value = None
        for node, parent, word in zip(path[:0:-1], path[-2::-1], wanted[::-1], strict=True):
            if node.children or node.value is not None:
                break
            del parent.children[word]

    def match(self, key: str) -> list[_Value]:
        """The values of all patterns that match ``key``, each once, in no particular order."""
        # Nodes that may still go on, each once: dicts as ordered sets. The flag says that the
        # node was reached over a "#", which takes any further word. One that ends with that "#"
        # is done: no further word changes it, and none costs time for it.
        done: dict[_Node[_Value], None] = {}
        active: dict[_Node[_Value], bool] = {}
        _enter(active, done, self._root, False)
        for word in words(key):
            after: dict[_Node[_Value], bool] = {}
            for node, hashed in active.items():
                if hashed:
                    _enter(after, done, node, True)
                if (child := node.children.get("*")) is not None:
                    _enter(after, done, child, False)
                if word not in ("*", "#") and (child := node.children.get(word)) is not None:
                    _enter(after, done, child, False)
            active = after
        found = done | dict.fromkeys(active)
        return [node.value for node in found if node.value is not None]


def _enter(
    active: dict[_Node[_Value], bool],
    done: dict[_Node[_Value], None],
    node: _Node[_Value],
    hashed: bool,
) -> None:
    active[node] = hashed
    child = node.children.get("#")
    while child is not None and child not in active:
        if child.children:
            active[child] = True
        if child.value is not None and not child.children:
            done[child] = None
        child = child.children.get("#")
