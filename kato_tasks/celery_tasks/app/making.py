"""``kato_tasks.make_app`` gives our own Celery app the settings that an application or a test hands in."""

from __future__ import annotations

from kato_tasks.celery_tasks.app import home
from kato_tasks.celery_tasks.app.given_settings import same, take_settings
from kato_tasks.celery_tasks.app.own_app import OwnApp, app
from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import Settings, given_settings
from kato_tasks.settings import settings as settings_of_the_process

_ADVICE = "call kato_tasks.make_app where the application starts, or kato_tasks.app.close() before it"


def make_app(settings: Settings | None = None) -> OwnApp:
    """Return our own Celery app, ``kato_tasks.app``, with these settings for the whole process.

    ``settings`` (``kato_tasks.Settings(store_url=…, …)``) replace those of the environment and ``.env``. Without
    ``settings`` the app reads the environment when it is first used, as ``kato_tasks.app`` does. A process has one such
    app: a second call with equal settings returns it as it is. Call it before anything is sent or appended.

    ``app.close()``, or the end of ``with make_app(settings) as app:``, closes every connection and forgets the
    settings, so that the next call may give others, as tests do.

    Raises ConfigurationError when something was sent, or the store was used, under other settings in this process, and
    when the tasks are on an application's own app: ``kato_tasks.install(app, settings=…)`` takes settings there.
    """
    if settings is None:
        return app
    if home.installed():
        raise ConfigurationError(
            f"the tasks of kato_tasks are on the Celery app {home.home_app().main or '(without a name)'!r} in this "
            "process; give the settings to kato_tasks.install(app, settings=…) instead"
        )
    before = given_settings()
    if before is not None and same(before, settings):
        return app
    if app.used and not same(settings_of_the_process(), settings):
        raise ConfigurationError(f"kato_tasks.app was used under other settings in this process; {_ADVICE}")
    if take_settings(settings, _ADVICE) and not app.used:
        app.forget_configuration()
    return app


__all__ = ["make_app"]
