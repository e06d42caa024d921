"""What is no mistake in the settings but hardly meant."""

from __future__ import annotations

from twbridge import destinations
from twbridge import settings as tree
from twbridge.errors import Forbidden, SettingsError
from twbridge.policy import Peer, Policy

__all__ = ["warnings"]


def warnings(settings: tree.Settings) -> list[str]:
    """A line for each doubt; no line holds a secret."""
    return [*_closed_routes(settings), *_idle_rules(settings), *_unlikely_vhost(settings)]


def _closed_routes(settings: tree.Settings) -> list[str]:
    """Routes that the rules close to all who speak no dialect."""
    policy = Policy(settings.allow, settings.names())
    lines = []
    for route in settings.wired() if settings.allow else ():
        try:
            policy.check("subscribe", destinations.parse(route.subscribe), Peer(None, True, ""))
        except Forbidden:
            # The chat page is that of the first route.
            has_page = settings.has_page and route is settings.route[0]
            who = "Raw clients and the chat page" if has_page else "Raw clients"
            lines.append(
                f"{who} can't use the route {route.path}: no [[allow]] rule covers subscribe "
                f"{route.subscribe}. JSON clients can use it, for what the rules allow"
            )
    return lines


def _idle_rules(settings: tree.Settings) -> list[str]:
    """Rules that match nothing, or not what was meant."""
    lines = []
    for index, rule in enumerate(settings.allow):
        named = f"allow[{index}].destination"
        kind, segments = destinations.split(rule.destination)
        if kind == "temp-queue" or (kind == "task") is not (rule.operation == "call"):
            lines.append(
                f"{named}: {rule.operation} {rule.destination} is refused whatever the rules say"
            )
        elif kind != "topic" and "#" in segments[0]:
            lines.append(
                f"{named}: the # in {rule.destination} is no wildcard in a name: "
                "write * for any characters, or %23 for a #"
            )
    return lines


def _unlikely_vhost(settings: tree.Settings) -> list[str]:
    try:
        parameters = settings.amqp.parameters()
    except SettingsError:
        return []
    if parameters is None or parameters.vhost:
        return []
    return [
        "The URL of the broker ends with a slash: that is the vhost with the empty name, which "
        "brokers hardly ever have. The vhost / is %2F, or no path at all"
    ]
