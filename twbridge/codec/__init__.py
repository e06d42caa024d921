"""The parts of AMQP's wire format (sans-I/O); ``twbridge.wire`` is the door."""
