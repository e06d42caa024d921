from twbridge.bus import AMQP2WS, WS2AMQP, listener
from twbridge.interfaces import Plugin


class Hello(Plugin):
    @listener(AMQP2WS)
    def greet(self, delivery):
        if delivery.body == b"!hello":
            self.bus.tell(WS2AMQP, "Hello from a plugin!")


hello = Hello()
