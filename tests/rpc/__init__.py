"""Tests of ``twbridge.rpc``."""
