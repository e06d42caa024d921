"""Modules of tasks, for the tests of what runs them."""
