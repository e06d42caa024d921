"""Tests of ``twbridge.link``."""
