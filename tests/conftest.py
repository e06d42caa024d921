"""What pytest needs to run trial's test cases as trial would.

pytest hands a trial ``TestCase`` to its own ``run``, which spins the global reactor until the
Deferred that the test returned fires: an asynchronous test that fails, times out or leaves the
reactor dirty fails here too (``test_running.py`` proves it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "twbridge", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("twbridge")


def pytest_configure(config: pytest.Config) -> None:
    # txAMQP 0.8.2 predates the deprecation; trial re-emits it with the file for a module.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:twisted.internet.defer.returnValue was deprecated:DeprecationWarning:.*txamqp.*",
    )


@pytest.fixture(scope="session", autouse=True)
def _temporary_working_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run in an empty folder, like trial: ``mktemp`` is relative, and the checkout stays clean."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("trial"))
    yield
    os.chdir(before)
