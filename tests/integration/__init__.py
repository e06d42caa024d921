"""Tests against real servers: RabbitMQ nodes and a browser that the tests start themselves."""
