"""txAMQP's description of AMQP 0-9-1, built from the classes of ``pamqp.commands``.

txAMQP generates its channel methods (``channel.queue_declare(...)``) from a Spec, but ships none.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pamqp import base, commands
from txamqp.spec import Class, Constant, Field, Method, Spec

_CONSTANTS = {
    "frame-method": 1,
    "frame-header": 2,
    "frame-body": 3,
    "frame-heartbeat": 8,
    "frame-min-size": 4096,
    "frame-end": 206,
}
_WITH_CONTENT = {"Basic.Publish", "Basic.Return", "Basic.Deliver", "Basic.GetOk"}


def _dashed(name: str) -> str:
    """``DeclareOk`` as the specification spells it: ``declare-ok``."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


@cache
def amqp_spec() -> Any:
    """The Spec of AMQP 0-9-1 with RabbitMQ's extensions; built once, shared by all clients."""
    spec = Spec(0, 9, "pamqp.commands")
    for name, value in _CONSTANTS.items():
        spec.constants.add(Constant(spec, name, value, None, []))
    for method_class in commands.INDEX_MAPPING.values():
        _add_method(spec, method_class)
    for klass in spec.classes:
        for method in klass.methods:
            kind: Any = commands.INDEX_MAPPING[klass.id << 16 | method.id]
            names = [name.split(".")[1] for name in kind.valid_responses]
            method.responses = [klass.methods.byname[_dashed(name)] for name in names]
            for response in method.responses:
                response.response = True
    spec.post_load()
    return spec


def _add_method(spec: Any, method_class: type[base.Frame]) -> None:
    class_name, method_name = method_class.name.split(".")
    klass = spec.classes.byname.get(class_name.lower())
    if klass is None:
        klass = Class(spec, class_name.lower(), method_class.index >> 16, None, [])
        spec.classes.add(klass)
    method = Method(
        klass,
        _dashed(method_name),
        method_class.index & 0xFFFF,
        method_class.name in _WITH_CONTENT,
        [],
        method_class.synchronous,
        "",
        [],
    )
    for position, name in enumerate(method_class.__slots__):
        method.fields.add(Field(name, position, method_class.amqp_type(name), []))
    klass.methods.add(method)
