"""What pytest needs to run trial's test cases as trial would.

pytest hands a trial ``TestCase`` to its own ``run``, which spins the global reactor until the
Deferred that the test returned fires: an asynchronous test that fails, times out or leaves the
reactor dirty fails here too (``test_running.py`` proves it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

#: What takes longest, the longest first. These are begun first, so that no worker is left alone
#: with one of them at the end: pytest-xdist by itself begins with the files that have the most
#: tests, and these have few.
LONG = (
    "integration/test_conformance.py",
    "integration/test_bridge_client_faults.py",
    "integration/test_chat_page.py",
    "integration/test_link_faults.py",
    "integration/test_bridge_faults.py",
    "integration/test_rabbitmq.py",
    "integration/test_stomp_faults.py",
    "integration/test_http_faults.py",
    "integration/test_wsgi_workers.py",
    "integration/test_rpc_worker.py",
    "integration/test_python_client.py",
    "integration/test_frontend.py",
    "integration/test_polling.py",
    "packaging/test_wheel.py",
    "packaging/test_installed.py",
)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _temporary_working_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run in an empty folder, like trial: ``mktemp`` is relative, and the checkout stays clean."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("trial"))
    yield
    os.chdir(before)
