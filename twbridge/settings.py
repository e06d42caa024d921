"""What can be configured: a frozen tree with a section for each table of the file.

Here is what a setting means and what is a mistake in its value; ``daemon/loading.py`` knows
where values come from, and in which order. The docstring under each key is its text in
``docs/settings.md``.
"""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import ip_address
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
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from twbridge import destinations
from twbridge.errors import BadDestination, SettingsError
from twbridge.link import uri
from twbridge.sockets import origins

CHAT_EXCHANGE = "twbridge.chat"
"""The exchange of the default route and of the chat page; declared like those in the settings."""
RESERVED_PATHS = ("/", "/healthz", "/readyz", "/metrics", "/static", "/api", "/admin")
"""What the bridge serves itself: no route may have these paths, or one below them."""


def _is_destination(text: str) -> str:
    try:
        destinations.parse(text)
    except BadDestination as error:
        raise ValueError(str(error)) from None
    return text


def _is_live(text: str) -> str:
    if not destinations.parse(_is_destination(text)).live:
        raise ValueError("must be an /exchange/... or /topic/... destination")
    return text


def _is_published_to(text: str) -> str:
    destination = destinations.parse(_is_destination(text))
    if not destination.live and destination.kind not in ("queue", "amq-queue"):
        raise ValueError("must be an /exchange/..., /topic/... or /queue/... destination")
    return text


def _is_path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+", text):
        raise ValueError("must be a path like /ws")
    if any(text == each or text.startswith(f"{each}/") for each in RESERVED_PATHS if each != "/"):
        raise ValueError(f"must not be one of the bridge's own: {', '.join(RESERVED_PATHS)}")
    return text


def _is_exchange_name(text: str) -> str:
    if not text or text.startswith("amq.") or len(text.encode()) > 127:
        raise ValueError(
            "must have 1 to 127 bytes and not begin with amq., RabbitMQ's own, which it declares"
        )
    return text


def _is_exchange_type(text: str) -> str:
    if text not in ("topic", "fanout", "direct", "headers") and not text.startswith("x-"):
        raise ValueError("must be topic, fanout, direct, headers, or one of a plugin: x-...")
    return text


def _is_loopback(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        good = ip_address(host.strip("[]")).is_loopback and 0 <= int(port) < 65536
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be a loopback address and a port like 127.0.0.1:5672")
    return text


def _are_origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    return _accepted(origins.compile_origins, texts)


def _are_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    return _accepted(origins.networks, texts)


def _accepted(check: Any, texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        check(texts)
    except SettingsError as error:
        raise ValueError(str(error).partition(": ")[2]) from None
    return texts


def _is_not_empty(given: Any) -> Any:
    if given == "":
        raise ValueError("must not be empty")
    return given


class Section(BaseModel):
    """A table: immutable, and a key that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Amqp(Section):
    """The link to the broker."""

    url: Annotated[SecretStr | None, BeforeValidator(_is_not_empty)] = None
    """`amqp://` or `amqps://` URL of the broker, or of the nodes of one cluster. Holds the
    password: never logged nor printed."""
    url_file: Annotated[Path | None, BeforeValidator(_is_not_empty)] = None
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
    origins: Annotated[tuple[str, ...], AfterValidator(_are_origins)] = ()
    """Pages that may open a WebSocket: `https://app.example`, `https://*.app.example`, `self`,
    `*`. Empty: those that this listener serves (`self`)."""
    proxies: Annotated[tuple[str, ...], AfterValidator(_are_networks)] = ()
    """Addresses or networks whose `X-Forwarded-*` headers are believed."""


class Route(Section):
    """A WebSocket path, and what a client that speaks no dialect is connected to there."""

    path: Annotated[str, AfterValidator(_is_path)] = "/ws"
    """Path of the URL; none of the bridge's own: `/`, `/healthz`, `/readyz`, `/metrics`, `/static`,
    `/api`, `/admin`, nor one below those (below `/` all others are free)."""
    publish: Annotated[str, AfterValidator(_is_published_to)] = f"/exchange/{CHAT_EXCHANGE}/chat"
    """Destination that every frame is published to."""
    subscribe: Annotated[str, AfterValidator(_is_live)] = f"/exchange/{CHAT_EXCHANGE}/#"
    """Destination whose messages every client gets."""
    on_error: Literal["close", "ignore"] = "close"
    """What a publish that fails does to its client: closed with 1013, or counted."""
    overflow: Literal["close"] = "close"
    """What happens to a client that reads too slowly: closed with 1013."""


class Exchange(Section):
    """An exchange that is declared at start, and whose type is then known to the hub."""

    name: Annotated[str, AfterValidator(_is_exchange_name)]
    """Its name."""
    type: Annotated[str, AfterValidator(_is_exchange_type)] = "topic"
    """`topic`, `fanout`, `direct`, `headers`, or one of a plugin (`x-...`)."""
    durable: StrictBool = True
    """Whether it survives a restart of the broker."""
    arguments: dict[str, Any] = {}
    """Further arguments of the declaration."""


class Allow(Section):
    """A right of clients.

    With no rule at all, loopback listeners allow everything to clients that call the bridge by a
    name of this machine (`localhost`, `127.0.0.1`) and through no proxy; nobody else is allowed
    anything.
    """

    operation: Literal["subscribe", "publish"]
    """What is allowed."""
    destination: Annotated[str, AfterValidator(_is_destination)]
    """Where: a destination whose key may be a topic pattern, `/exchange/chat/room.#`."""


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


class Websocket(Section):
    """The WebSocket protocol."""

    ping_interval: PositiveFloat = 25.0
    """Seconds of silence after which a client is pinged."""
    ping_timeout: PositiveFloat = 20.0
    """Seconds that it has for its pong."""
    deflate: StrictBool = False
    """Offer permessage-deflate; costs about 30 KB of memory a client."""


class Embedded(Section):
    """The broker inside this process, to try twbridge on one machine; keeps nothing."""

    enabled: StrictBool = False
    """Start it, in place of a URL."""
    listen: Annotated[str, AfterValidator(_is_loopback)] | None = None
    """Loopback address and port for other AMQP clients. Not set: `127.0.0.1:5672` if it is free,
    else another port."""


class Log(Section):
    """The log."""

    format: Literal["text", "json"] = "text"
    """Lines to read, or one JSON object a line."""
    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    """The least important events that are logged."""


class Settings(BaseSettings):
    """All settings. Made directly it has what it is given and defaults; see ``loading.load``."""

    model_config = ConfigDict(frozen=True, extra="forbid")  # type: ignore[assignment]

    amqp: Amqp = Amqp()
    listen: tuple[Listen, ...] = (Listen(),)
    route: tuple[Route, ...] = (Route(),)
    exchange: tuple[Exchange, ...] = ()
    allow: tuple[Allow, ...] = ()
    limits: Limits = Limits()
    websocket: Websocket = Websocket()
    embedded: Embedded = Embedded()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """No environment behind the caller's back."""
        return (init_settings,)

    @model_validator(mode="after")
    def _lists_make_sense(self) -> Settings:
        for key in ("listen", "route"):
            if not getattr(self, key):
                raise ValueError(f"{key} must have one entry at least")
        for key, names in {
            "route": [route.path for route in self.route],
            "exchange": [exchange.name for exchange in self.exchange],
            "listen": [listen.endpoint for listen in self.listen],
        }.items():
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{key} has {twice[0]} twice")
        return self

    def exchanges(self) -> tuple[Exchange, ...]:
        """Those to declare: the configured ones, and the chat's where a route uses it."""
        used = {
            destinations.parse(text).exchange
            for route in self.route
            for text in (route.publish, route.subscribe)
        }
        if CHAT_EXCHANGE in used and all(each.name != CHAT_EXCHANGE for each in self.exchange):
            return (*self.exchange, Exchange(name=CHAT_EXCHANGE))
        return self.exchange

    def unlisted_exchanges(self) -> tuple[str, ...]:
        """Exchanges that routes use and nobody configures: their type isn't known."""
        listed = {each.name for each in self.exchanges()}
        used = dict.fromkeys(
            destinations.parse(text).exchange
            for route in self.route
            for text in (route.subscribe, route.publish)
        )
        return tuple(name for name in used if name not in listed and _may_declare(name))


def _may_declare(name: str) -> bool:
    return bool(name) and not name.startswith("amq.")
