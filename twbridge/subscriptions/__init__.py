"""Subscriptions that are more than a place in the hub: queues, streams, and what may be dropped."""
