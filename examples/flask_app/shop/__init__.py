"""A Flask application made by a factory, with Celery as in Flask's documentation."""

import os
from collections.abc import Mapping
from typing import Any

import click
from celery import Celery, Task, chain
from flask import Flask, request

import kato_tasks
from kato_tasks import KatoTasksError, learn, observe, predict
from shop import pages
from shop.tasks import greet, note_position


def celery_init_app(app: Flask) -> Celery:
    """The application's Celery app; its tasks run in the application's context."""

    class ContextTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=ContextTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    # An application decides this once; here a setting does, so that both ways can be tried (README.md).
    if app.config["ONE_WORKER"]:
        kato_tasks.install(celery_app)
    app.extensions["celery"] = celery_app
    return celery_app


def create_app(settings: Mapping[str, Any] | None = None) -> Flask:
    """The application."""
    app = Flask(__name__)
    app.config.from_mapping(
        CELERY={
            "broker_url": os.environ.get("SHOP_BROKER", "redis://127.0.0.1:6379/0"),
            "result_backend": os.environ.get("SHOP_RESULTS", "redis://127.0.0.1:6379/1"),
            "task_default_queue": "shop",
            "task_ignore_result": True,
        },
        PAGES=os.environ.get("SHOP_PAGES", "redis://127.0.0.1:6379/7"),
        ONE_WORKER=bool(os.environ.get("SHOP_ONE_WORKER")),
    )
    app.config.from_prefixed_env()
    app.config.update(settings or {})
    celery_init_app(app)

    @app.post("/visits/<person>")
    def visit(person: str) -> tuple[dict[str, Any], int]:
        body = request.get_json(force=True)
        try:
            if body.get("left"):
                return learn.delay(person).get(timeout=30), 200
            return {"visit": visited(person, body["page"])}, 202
        except KatoTasksError as refused:
            return {"error": str(refused)}, 422

    @app.get("/visits/<person>")
    def visits(person: str) -> dict[str, Any]:
        return {"visits": pages.of(person)}

    @app.get("/next/<person>")
    def expected(person: str) -> dict[str, Any]:
        predictions = predict.delay(person).get(timeout=30)["predictions"]
        return {"next": predictions[0]["future"] if predictions else []}

    @app.cli.command("visit")
    @click.argument("person")
    @click.argument("seen", nargs=-1)
    def visit_from_the_shell(person: str, seen: tuple[str, ...]) -> None:
        """Let a person visit pages, in this order."""
        for page in seen:
            visited(person, page)
        for row in pages.when_done(person, seconds=30):
            click.echo(f"{person} saw {row['page']}: position {row['position']}, greeted")

    return app


def visited(person: str, page: str) -> str:
    """Write a visit down, hand it to KATO, and greet the person; returns the visit's id."""
    visit = pages.add(person, page)
    steps = chain(observe.s(person, {"strings": [page]}, event_id=visit), note_position.s(person, visit))
    steps.apply_async()
    greet.delay(person, visit)
    return visit
