"""Plug-ins that only `make smoke` may load."""

import pytest


@pytest.mark.parametrize("plugin", ["celery", "docker_tools"])
def test_a_plugin_that_changes_the_current_celery_app_or_reaches_for_docker_loads_only_where_asked_for(
    pytestconfig: pytest.Config, plugin: str
) -> None:
    assert pytestconfig.pluginmanager.is_blocked(plugin)
