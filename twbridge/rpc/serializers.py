"""Values to and from the bodies of messages (sans-I/O).

A string goes as text, bytes as they are, anything else as JSON. MessagePack and pickle are for
those who ask for them, and pickle needs the word of both sides, because who unpickles a message
runs what its sender wrote. ``content_encoding`` is there only where the bytes really are
compressed, and nothing is inflated past a limit.
"""

from __future__ import annotations

import gzip
import pickle as pickling
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from twbridge.errors import BadBody

__all__ = [
    "COMPRESSED_FROM",
    "JSON",
    "MAX_INFLATED",
    "MSGPACK",
    "OCTETS",
    "PICKLE",
    "TEXT",
    "Body",
    "Serializers",
    "answer_type",
    "inflate",
]

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
PICKLE: Final = "application/x-python-pickle"
TEXT: Final = "text/plain; charset=utf-8"
OCTETS: Final = "application/octet-stream"

#: Bodies of more bytes are compressed where that makes them smaller.
COMPRESSED_FROM: Final = 32_768
#: What a body may be inflated to, in bytes.
MAX_INFLATED: Final = 16 * 1024 * 1024

#: gzip's level: nearly as small as with 6, the usual one, in half the time.
_LEVEL: Final = 3
#: zlib's word for a gzip header and trailer around the data, with the largest window.
_GZIP: Final = 31
#: Top-level media types whose bodies are bytes to us.
_OPAQUE: Final = frozenset({"audio", "font", "image", "video"})
_CHARSETS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
}


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a message as it travels.

    Attributes:
        data: the bytes, compressed where ``content_encoding`` says so.
        content_type: what they are, once inflated.
        content_encoding: ``gzip``; None where they are as they are.
    """

    data: bytes
    content_type: str
    content_encoding: str | None = None


def inflate(body: Body, most: int = MAX_INFLATED) -> Body:
    """The same body, no more compressed; itself where it is not.

    Args:
        most: what it may be inflated to, in bytes. No more than that is ever inflated.

    Raises:
        BadBody: it is larger, is not what ``content_encoding`` says, or that is not gzip.
    """
    encoding = (body.content_encoding or "identity").lower()
    if encoding == "identity":
        return body if body.content_encoding is None else replace(body, content_encoding=None)
    if encoding != "gzip":
        raise BadBody(f"the content encoding {encoding[:50]!r} is not known; gzip is")
    inflater = zlib.decompressobj(_GZIP)
    try:
        data = inflater.decompress(body.data, most + 1)
    except zlib.error:
        raise BadBody("the body is not the gzip that its content encoding says") from None
    if len(data) > most:
        raise BadBody(f"the body is over {most} bytes once inflated")
    if not inflater.eof:
        raise BadBody("the gzip of the body ends too early")
    if inflater.unused_data:
        raise BadBody("there is more after the gzip of the body")
    return Body(data, body.content_type)


def answer_type(content_type: str) -> str | None:
    """The type to answer a body of this type with: MessagePack and pickle are answered alike.

    Returns:
        what :meth:`Serializers.encode` takes; None where the value decides.
    """
    essence = _essence(content_type)
    return essence if essence in (MSGPACK, PICKLE) else None


class Serializers:
    """Makes bodies of values, and values of bodies.

    JSON and MessagePack are msgspec's: besides what they know themselves, dates, UUIDs, enums,
    dataclasses, sets and the like are written as strings, objects and arrays, bytes inside JSON in
    base64, and NaN as null. They come back as the plain types.

    Args:
        pickle: whether this side takes part in pickle.
        max_inflated: what a body may be inflated to, in bytes.
    """

    def __init__(self, *, pickle: bool = False, max_inflated: int = MAX_INFLATED) -> None:
        self.pickle = pickle
        self.max_inflated = max_inflated

    def encode(
        self, value: Any, *, compress: bool | None = None, content_type: str | None = None
    ) -> Body:
        """Make a body.

        Args:
            value: a string becomes text, bytes stay, a :class:`Body` is taken as it is, anything
                else becomes JSON.
            compress: None compresses what is over COMPRESSED_FROM bytes and gets smaller by it,
                but nothing over ``max_inflated`` bytes, which nobody would inflate; True
                everything; False nothing.
            content_type: says it otherwise: MSGPACK, PICKLE, JSON; of a string any ``text/``,
                of bytes any type that is read as bytes.

        Raises:
            BadBody: the value is not for this type, pickle is not opted in, or it is to be
                compressed and has over ``max_inflated`` bytes.
        """
        if isinstance(value, Body):
            body = value
        elif content_type is None:
            body = _plain(value)
        else:
            body = Body(self._encode_as(value, content_type), content_type)
        if body.content_encoding is not None or compress is False:
            return body
        size = len(body.data)
        if compress is None and not COMPRESSED_FROM < size <= self.max_inflated:
            return body
        if size > self.max_inflated:
            raise BadBody(
                f"the body has {size} bytes: compressed, it may have {self.max_inflated} at most"
            )
        data = gzip.compress(body.data, _LEVEL, mtime=0)
        if compress is None and len(data) >= size:
            return body
        return Body(data, body.content_type, "gzip")

    def decode(self, body: Body) -> Any:
        """The value of a body.

        Text becomes a string; JSON and MessagePack what they say; ``application/octet-stream``,
        images, audio, video and fonts are bytes.

        Raises:
            BadBody: its type or encoding is not known, pickle is not opted in, it is malformed,
                nested too deeply, or over ``max_inflated`` bytes once inflated.
        """
        data = inflate(body, self.max_inflated).data
        essence = _essence(body.content_type)
        if _is_json(essence):
            return _guarded(msgspec.json.decode, data, "JSON")
        if essence == MSGPACK:
            return _guarded(msgspec.msgpack.decode, data, "MessagePack")
        if essence.startswith("text/"):
            return _text(data, body.content_type)
        if _is_opaque(essence):
            return data
        if essence == PICKLE:
            self._check_pickle()
            return _guarded(pickling.loads, data, "pickle")
        raise BadBody(f"the content type {body.content_type[:100]!r} is not known")

    def _encode_as(self, value: Any, content_type: str) -> bytes:
        essence = _essence(content_type)
        if _is_json(essence):
            return _encoded(msgspec.json.encode, value, "JSON")
        if essence == MSGPACK:
            return _encoded(msgspec.msgpack.encode, value, "MessagePack")
        if essence == PICKLE:
            self._check_pickle()
            return _encoded(pickling.dumps, value, "pickle")
        if essence.startswith("text/") and isinstance(value, str):
            charset = _charset(content_type)
            return _encoded(lambda text: str.encode(text, charset), value, "text")
        if _is_opaque(essence) and isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        kind = type(value).__name__
        raise BadBody(f"a value of type {kind} does not go as {content_type[:100]!r}")

    def _check_pickle(self) -> None:
        if not self.pickle:
            raise BadBody("pickle is not opted in on this side (pickle=True)")


def _plain(value: Any) -> Body:
    if isinstance(value, str):
        return Body(_encoded(str.encode, value, "text"), TEXT)
    if isinstance(value, bytes | bytearray | memoryview):
        return Body(bytes(value), OCTETS)
    return Body(_encoded(msgspec.json.encode, value, "JSON"), JSON)


def _encoded(encode: Callable[[Any], bytes], value: Any, name: str) -> bytes:
    try:
        return encode(value)
    except RecursionError:
        raise BadBody(f"the value is nested too deeply for {name}") from None
    except Exception as error:
        # pickle's own errors have no common class, and it runs code of the value's.
        raise BadBody(f"the value does not go as {name}: {error}") from error


def _guarded(decode: Callable[[bytes], Any], data: bytes, name: str) -> Any:
    try:
        return decode(data)
    except RecursionError:
        raise BadBody(f"the {name} is nested too deeply") from None
    except Exception as error:
        raise BadBody(f"the body is not valid {name}: {error}") from error


def _text(data: bytes, content_type: str) -> str:
    charset = _charset(content_type)
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        raise BadBody(f"the body is not valid {charset}") from None


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            word = value.strip().strip('"').lower()
            try:
                return _CHARSETS[word]
            except KeyError:
                raise BadBody(f"the charset {word[:50]!r} is not known; utf-8 is") from None
    return "utf-8"


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(essence: str) -> bool:
    return essence == JSON or (essence.startswith("application/") and essence.endswith("+json"))


def _is_opaque(essence: str) -> bool:
    return essence == OCTETS or essence.partition("/")[0] in _OPAQUE
