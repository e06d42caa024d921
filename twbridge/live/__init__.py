"""The parts of live subscriptions (sans-I/O); ``twbridge.hub`` is the door."""
