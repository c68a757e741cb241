"""What `celery -A make_celery worker` and `flask --app make_celery …` start from."""

from shop import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
