"""The parts of the link to the broker; ``twbridge.amqp`` is the door."""
