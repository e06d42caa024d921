"""Tells ``twistd`` of twbridge. Imports nothing heavy: every ``twistd --help`` loads it."""

from twisted.application.service import ServiceMaker

twbridge = ServiceMaker(
    "twbridge",
    "twbridge.service",
    "A bridge between WebSocket clients and RabbitMQ.",
    "twbridge",
)
