"""txAMQP 0.8.2 as it ships, to show what our link does better.

It ships no specification either: this one is built from ``pamqp.commands``, with the names that
AMQP 0-9-1 gives (``no-wait``, ``content-type``).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pamqp import commands
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from txamqp.client import TwistedDelegate
from txamqp.protocol import AMQClient
from txamqp.spec import Class, Constant, Field, Method, Spec

_CONSTANTS = {"frame-method": 1, "frame-header": 2, "frame-body": 3}
_CONSTANTS |= {"frame-heartbeat": 8, "frame-end": 206}
_WITH_CONTENT = ("Basic.Publish", "Basic.Return", "Basic.Deliver", "Basic.GetOk")


def _dashed(name: str) -> str:
    """``exchange_type`` and ``DeclareOk`` as the specification has them."""
    text = "".join(f"-{each.lower()}" if each.isupper() else each for each in name)
    text = text.strip("-").replace("_", "-")
    return {"nowait": "no-wait", "exchange-type": "type", "message-type": "type"}.get(text, text)


@cache
def specification() -> Any:
    """The Spec of AMQP 0-9-1 with RabbitMQ's extensions, as ``txamqp.spec.load`` would have it."""
    spec = Spec(0, 9, "amqp0-9-1")
    for name, value in _CONSTANTS.items():
        spec.constants.add(Constant(spec, name, value, None, []))
    kind: Any
    for index, kind in commands.INDEX_MAPPING.items():
        class_name = kind.name.split(".")[0].lower()
        if class_name not in spec.classes.byname:
            spec.classes.add(Class(spec, class_name, index >> 16, None, []))
        klass = spec.classes.byname[class_name]
        method = Method(
            klass,
            _dashed(kind.name.split(".")[1]),
            index & 0xFFFF,
            kind.name in _WITH_CONTENT,
            [_dashed(name.split(".")[1]) for name in kind.valid_responses],
            kind.synchronous,
            "",
            [],
        )
        for position, name in enumerate(kind.__slots__):
            method.fields.add(Field(_dashed(name), position, kind.amqp_type(name), []))
        klass.methods.add(method)
    basic = spec.classes.byname["basic"]
    properties = commands.Basic.Properties
    for position, name in enumerate(properties.__slots__):
        basic.fields.add(Field(_dashed(name), position, properties.amqp_type(name), []))
    for klass in spec.classes:
        for method in klass.methods:
            method.responses = [klass.methods.byname[name] for name in method.responses]
            for response in method.responses:
                response.response = True
    spec.post_load()
    return spec


async def connect(
    reactor: Any, port: int, *, login: tuple[str, str] = ("guest", "guest"), **settings: Any
) -> Any:
    """A stock client on 127.0.0.1, logged in."""
    factory = Factory.forProtocol(
        lambda: AMQClient(TwistedDelegate(), "/", specification(), **settings)
    )
    factory.noisy = False
    client: Any = await HostnameEndpoint(reactor, "127.0.0.1", port).connect(factory)
    await client.authenticate(*login)
    return client


async def channel(client: Any, number: int = 1) -> Any:
    """An open channel of a stock client."""
    opened = await client.channel(number)
    await opened.channel_open()
    return opened
