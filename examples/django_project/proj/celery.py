"""The project's Celery app, as in Celery's guide for Django."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")

app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# A project decides this once; here a variable does, so that both ways can be tried (README.md).
if os.environ.get("SHOP_ONE_WORKER"):
    import kato_tasks

    kato_tasks.install(app)
