"""One running instance, put together; ``twbridge.service`` is the door."""
