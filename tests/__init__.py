"""Tests of twbridge: unit tests mirror the package, integration tests talk to real servers."""
