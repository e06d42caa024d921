"""What can be configured: a frozen tree with a section for each table of the file.

``setting_sections.py`` has the tables; ``daemon/loading.py`` knows where values come from, and in
which order.
"""

from __future__ import annotations

from pydantic import ConfigDict, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from twbridge import destinations
from twbridge import setting_values as values
from twbridge.setting_sections import (
    CHAT_EXCHANGE,
    Allow,
    Amqp,
    Auth,
    Embedded,
    Exchange,
    Http,
    Limits,
    Listen,
    Log,
    Mount,
    Route,
    Stream,
    Websocket,
)
from twbridge.setting_values import RESERVED_PATHS

__all__ = [
    "CHAT_EXCHANGE",
    "RESERVED_PATHS",
    "Allow",
    "Amqp",
    "Auth",
    "Embedded",
    "Exchange",
    "Http",
    "Limits",
    "Listen",
    "Log",
    "Mount",
    "Route",
    "Settings",
    "Stream",
    "Websocket",
]

NAMED_BY = {
    "route": "path",
    "mount": "path",
    "exchange": "name",
    "stream": "name",
    "listen": "endpoint",
}
"""The lists in which no two entries have the same of that key."""


class Settings(BaseSettings):
    """All settings. Made directly it has what it is given and defaults; see ``loading.load``."""

    model_config = ConfigDict(frozen=True, extra="forbid")  # type: ignore[assignment]

    amqp: Amqp = Amqp()
    listen: tuple[Listen, ...] = (Listen(),)
    route: tuple[Route, ...] = (Route(), Route(path="/stomp", dialect="stomp"))
    mount: tuple[Mount, ...] = ()
    exchange: tuple[Exchange, ...] = ()
    stream: tuple[Stream, ...] = ()
    allow: tuple[Allow, ...] = ()
    auth: Auth = Auth()
    limits: Limits = Limits()
    websocket: Websocket = Websocket()
    http: Http = Http()
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
        mistakes = [
            f"{key} must have one entry at least"
            for key in ("listen", "route")
            if not getattr(self, key)
        ]
        mistakes += values.twice(
            {
                section: [getattr(each, name) for each in getattr(self, section)]
                for section, name in NAMED_BY.items()
            }
        )
        routes = {each.path for each in self.route}
        mistakes += [
            f"mount has {each.path}, which is the path of a route"
            for each in self.mount
            if each.path in routes
        ]
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def exchanges(self) -> tuple[Exchange, ...]:
        """Those to declare: the configured ones, and the chat's where a route or stream uses it."""
        listed = {each.name for each in self.exchange}
        if CHAT_EXCHANGE in self._used_exchanges() and CHAT_EXCHANGE not in listed:
            return (*self.exchange, Exchange(name=CHAT_EXCHANGE))
        return self.exchange

    def unlisted_exchanges(self) -> tuple[str, ...]:
        """Exchanges that routes and streams use and nobody configures: their type isn't known."""
        listed = {each.name for each in self.exchanges()}
        used = self._used_exchanges()
        return tuple(name for name in used if name not in listed and _may_declare(name))

    @property
    def has_page(self) -> bool:
        """Whether the chat page is served."""
        return self.http.page and all(mount.path != "/" for mount in self.mount)

    def wired(self) -> tuple[Route, ...]:
        """The routes whose destinations are used: those of raw clients, and the chat page's."""
        return tuple(
            route
            for number, route in enumerate(self.route)
            if route.dialect == "raw" or (not number and self.has_page)
        )

    def names(self) -> frozenset[str]:
        """What it names on the broker, and clients may use even if it begins with twbridge."""
        routed = (text for route in self.wired() for text in (route.publish, route.subscribe))
        return frozenset(
            (
                *(destinations.parse(text).name for text in routed),
                *(exchange.name for exchange in self.exchanges()),
                *(stream.name for stream in self.stream),
            )
        )

    def _used_exchanges(self) -> tuple[str, ...]:
        used = [text for route in self.wired() for text in (route.subscribe, route.publish)]
        used += [text for stream in self.stream for text in stream.bindings]
        return tuple(dict.fromkeys(destinations.parse(text).exchange for text in used))


def _may_declare(name: str) -> bool:
    return bool(name) and not name.startswith("amq.")
