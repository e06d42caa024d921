"""The tables of the settings: what a key means, and what is a mistake in its value.

The docstring under each key is its text in ``docs/settings.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    StrictBool,
    ValidationInfo,
    field_validator,
    model_validator,
)

from twbridge import destinations
from twbridge import setting_values as values
from twbridge.commands import Overflow
from twbridge.errors import SettingsError
from twbridge.link import uri

CHAT_EXCHANGE = "twbridge.chat"
"""The exchange of the default route and of the chat page; declared like those in the settings."""
RABBITMQ_SEGMENT = 500_000_000
"""Bytes of a stream's segment where its declaration names none."""
SEGMENTS = 8
"""Segments that the bytes of a stream make up at least."""
MIN_SEGMENT = 65_536
"""Bytes of the smallest segment that is asked for."""


class Section(BaseModel):
    """A table: immutable, and a key that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Amqp(Section):
    """The link to the broker."""

    url: Annotated[SecretStr | None, BeforeValidator(values.is_not_empty)] = None
    """`amqp://` or `amqps://` URL of the broker, or of the nodes of one cluster. Holds the
    password: never logged nor printed."""
    url_file: Annotated[Path | None, BeforeValidator(values.is_not_empty)] = None
    """File that holds the URL, a secret that a service manager hands over for example."""
    timeout: PositiveFloat = 10.0
    """Seconds in which a publish must be confirmed, its waiting for the broker included."""
    reconnect_cap: PositiveFloat = 4.0
    """Longest pause, in seconds, between two tries to connect; the pauses grow up to it."""
    connection_attempts: PositiveInt | None = None
    """Tries before the link gives up; not set: it never does."""
    heartbeat: Annotated[int, Field(ge=0, le=65535)] = 20
    """Seconds between heartbeats that we propose; the URL's own `heartbeat` comes first, 0 is
    none."""
    window: PositiveInt = 1000
    """Messages without a confirm yet; past it, the sockets that publish are not read."""
    confirmations: StrictBool = True
    """Wait for the broker's confirms. Without them "published" only means "sent"."""

    def parameters(self) -> uri.Parameters | None:
        """Read the URL, from its file where it has one; None where there is neither.

        Raises:
            SettingsError: the file can't be read, or the URL is wrong. Never holds the password.
        """
        text = self.url.get_secret_value() if self.url else None
        if text is None and self.url_file is not None:
            try:
                text = self.url_file.read_text()
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8"
                raise SettingsError(f"can't be read: {reason}: {self.url_file}") from None
            if not text.strip():
                raise SettingsError(f"the file is empty: {self.url_file}")
        if text is None:
            return None
        return uri.parse(text.strip(), heartbeat=self.heartbeat)


class Listen(Section):
    """Where clients connect to."""

    endpoint: str = "tcp:8080:interface=127.0.0.1"
    """Twisted endpoint description: `tcp:`, `ssl:`, `unix:`, `systemd:`, ..."""
    origins: Annotated[tuple[str, ...], AfterValidator(values.are_origins)] = ()
    """Pages that may open a WebSocket: `https://app.example`, `https://*.app.example`, `self`,
    `*`. Empty: those that this listener serves (`self`)."""
    proxies: Annotated[tuple[str, ...], AfterValidator(values.are_networks)] = ()
    """Addresses or networks whose `X-Forwarded-*` headers are believed."""


class Route(Section):
    """A WebSocket path, and what a client that speaks no dialect is connected to there."""

    path: Annotated[str, AfterValidator(values.is_path)] = "/ws"
    """Path of the URL; none of the bridge's own: `/`, `/healthz`, `/readyz`, `/metrics`, `/static`,
    `/api`, `/events`, `/admin`, nor one below those (below `/` all others are free)."""
    publish: Annotated[str, AfterValidator(values.is_of_a_route)] = (
        f"/exchange/{CHAT_EXCHANGE}/chat"
    )
    """Destination that every frame is published to."""
    subscribe: Annotated[str, AfterValidator(values.is_of_a_route)] = f"/exchange/{CHAT_EXCHANGE}/#"
    """Destination whose messages every client gets."""
    dialect: Literal["raw", "json", "stomp"] = "raw"
    """What is spoken with a client that asks for no subprotocol: `raw` (each frame is a message),
    `json` or `stomp`. `publish` and `subscribe` are for `raw` only."""
    on_error: Literal["close", "ignore"] = "close"
    """What a publish that fails does to its client: closed with 1013, or counted."""
    overflow: Overflow | None = None
    """What becomes of messages for a client that reads too slowly: it is closed with 1013
    (`close`), the oldest are dropped (`drop-oldest`), all but the newest of each routing key
    (`latest`), or they stay in the queue or stream (`block`). Not set: `block` for queues and
    streams, else `close`."""

    @field_validator("overflow")
    @classmethod
    def _suits_the_kind(cls, overflow: Overflow | None, info: ValidationInfo) -> Overflow | None:
        if "subscribe" in info.data:
            values.is_overflow_of(info.data["subscribe"], overflow)
        return overflow


class Mount(Section):
    """A path below which a WSGI application answers, in workers behind queues.

    The application alone says who may do what there: no rule is asked. Without any mount, all
    first segments of paths (`/app`) are mounts where everything is allowed anyway: see `[[allow]]`.
    """

    path: Annotated[str, AfterValidator(values.is_mount)]
    """Path of the URL, as given to `twbridge wsgi-worker --mount`; `/` for all that isn't the
    bridge's own, the chat page excepted. The longest that fits decides."""
    body: PositiveInt = 16_777_216
    """Bytes of the body of one request."""
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Seconds that a request waits for a worker, and that the application then has: to begin its
    answer, and for each next piece of it."""


class Exchange(Section):
    """An exchange that is declared at start, and whose type is then known to the hub."""

    name: Annotated[str, AfterValidator(values.is_exchange_name)]
    """Its name."""
    type: Annotated[str, AfterValidator(values.is_exchange_type)] = "topic"
    """`topic`, `fanout`, `direct`, `headers`, or one of a plugin (`x-...`)."""
    durable: StrictBool = True
    """Whether it survives a restart of the broker."""
    arguments: dict[str, Any] = {}
    """Further arguments of the declaration."""


class Stream(Section):
    """A stream that is declared at start, bound to what it keeps.

    Its retention is required: `max_age`, `max_bytes` or both.
    """

    name: Annotated[str, AfterValidator(values.is_stream_name)]
    """Its name: clients read `/stream/<name>`."""
    max_age: Annotated[str, AfterValidator(values.is_age)] | None = None
    """Messages older than this go: a whole number and `Y`, `M`, `D`, `h`, `m` or `s`, like `7D`."""
    max_bytes: Annotated[int, Field(gt=0, le=2**63 - 1)] | None = None
    """The oldest messages go when there are more bytes than this."""
    bindings: Annotated[tuple[str, ...], AfterValidator(values.are_live)] = ()
    """Destinations whose messages it keeps: `/exchange/chat/#`, `/topic/news.*`."""

    @model_validator(mode="after")
    def _keeps_within_bounds(self) -> Stream:
        if self.max_age is None and self.max_bytes is None:
            raise ValueError("must have a max_age or a max_bytes: nothing else bounds a stream")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of its declaration (https://www.rabbitmq.com/docs/streams)."""
        found: dict[str, Any] = {"x-queue-type": "stream"}
        if self.max_age is not None:
            found["x-max-age"] = self.max_age
        if self.max_bytes is not None:
            found["x-max-length-bytes"] = self.max_bytes
            # Whole segments go, and never the one that is written to.
            segment = max(self.max_bytes // SEGMENTS, MIN_SEGMENT)
            if segment < RABBITMQ_SEGMENT:
                found["x-stream-max-segment-size-bytes"] = segment
        return found

    def bound_to(self) -> tuple[tuple[str, str], ...]:
        """Its bindings: exchange and key."""
        bound = (destinations.parse(text) for text in self.bindings)
        return tuple((each.exchange, each.routing_key) for each in bound)


class Allow(Section):
    """A right of clients.

    With no rule at all, loopback listeners allow everything to clients that call the bridge by a
    name of this machine (`localhost`, `127.0.0.1`) and through no proxy; nobody else is allowed
    anything.
    """

    operation: Literal["subscribe", "publish", "call"]
    """What is allowed."""
    destination: Annotated[str, AfterValidator(values.is_destination)]
    """Where: a destination whose key may be a topic pattern, `/exchange/chat/room.#`; the tasks
    that may be called, `/task/report.*`. A `*` in a name stands for any run of characters."""


class Auth(Section):
    """Who a client is, by its user name and password (`login` and `passcode` of STOMP)."""

    method: Literal["none", "file", "amqp"] = "none"
    """Who knows: nobody (`none`: no client logs in), a file of users (`file`), or the broker
    (`amqp`)."""
    file: Annotated[Path | None, BeforeValidator(values.is_not_empty)] = None
    """The file of users, as `htpasswd -B` writes it. Read again when it has changed."""
    remember: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds for which a login that was right is not checked again; 0: each one is."""
    timeout: PositiveFloat = 10.0
    """Seconds that a login may wait, for its turn and for the broker's answer."""
    parallel: PositiveInt = 4
    """Logins that are checked at a time; with a file, at most one less than there are
    processors."""
    waiting: PositiveInt = 1000
    """Different logins that wait for their turn; past it, they are refused for now."""


class Limits(Section):
    """What one client, and all of them, may cost."""

    frame: PositiveInt = 1_048_576
    """Bytes of one WebSocket frame."""
    message: PositiveInt = 1_048_576
    """Bytes of one message, all its frames together."""
    handshake_bytes: Annotated[int, Field(ge=1024)] = 16_384
    """Bytes of a request's head."""
    handshake_seconds: PositiveFloat = 5.0
    """Seconds for a request's head to arrive."""
    fragments: PositiveInt = 1_000
    """Frames that one message may consist of."""
    connections: PositiveInt = 20_000
    """Connections in all; less where the process may not open as many files."""
    connections_per_address: PositiveInt = 1_000
    """Connections of one IPv4 address or IPv6 /64."""
    send_buffer: PositiveInt = 1_048_576
    """Bytes that wait for a client that reads slowly; past it, `overflow` decides."""
    subscriptions: PositiveInt = 128
    """Subscriptions of one client."""
    calls: PositiveInt = 100
    """Calls of one client under way."""
    prefetch: Annotated[int, Field(gt=0, le=65535)] = 1_000
    """The most that a subscription may ask for as its `prefetch`: messages of a queue without an
    ack, or messages of a stream that are read ahead."""


class Websocket(Section):
    """The WebSocket protocol."""

    ping_interval: PositiveFloat = 25.0
    """Seconds of silence after which a client is pinged."""
    ping_timeout: PositiveFloat = 20.0
    """Seconds that it has for its pong."""
    deflate: StrictBool = False
    """Compress messages for clients that offer permessage-deflate, each once for all of them."""


class Http(Section):
    """What is served beside WebSockets, health checks and mounts."""

    page: StrictBool = True
    """Serve the chat page at `/`. A mount of `/` takes its place."""
    api: StrictBool = True
    """Serve `/api/publish`, `/api/poll`, `/api/call/...` and `/events`. Without them these paths
    are free for a mount of `/`."""


class Embedded(Section):
    """The broker inside this process, to try twbridge on one machine; keeps nothing."""

    enabled: StrictBool = False
    """Start it, in place of a URL."""
    listen: Annotated[str, AfterValidator(values.is_loopback)] | None = None
    """Loopback address and port for other AMQP clients. Not set: `127.0.0.1:5672` if it is free,
    else another port."""


class Log(Section):
    """The log."""

    format: Literal["text", "json"] = "text"
    """Lines to read, or one JSON object a line."""
    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    """The least important events that are logged."""
