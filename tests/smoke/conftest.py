"""`make smoke` runs these tests, in a process of their own.

pytest-celery changes the current Celery app of every process that loads it, so pyproject.toml keeps it out of all other
runs; there these tests are left out by name.
"""

import pytest

from tests.docker import require_engine

PLUGIN = "pytest_celery.plugin"


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin(PLUGIN):
        from tests.smoke import deployment

        # After pytest-celery, so that our fixtures take the place of its own of the same names.
        config.pluginmanager.register(deployment)


@pytest.fixture(scope="session", autouse=True)
def engine(request: pytest.FixtureRequest) -> None:
    require_engine()
    if not request.config.pluginmanager.has_plugin(PLUGIN):
        pytest.skip("pytest-celery is not available (`make smoke` runs these tests with it)")
