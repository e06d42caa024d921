"""twbridge puts RabbitMQ on the web: a Twisted bridge between WebSocket clients and AMQP 0-9-1."""

__version__ = "0.1.0"
