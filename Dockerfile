# One image for every process of the stack; docker-compose.yml says which one a container runs.

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /app
# worker: worker and beat; archive: history in a database; flower: Flower; http: the HTTP server and the embedded KATO;
# kafka: listeners, publishers and sinks on Kafka.
# With httpx as well:
# --build-arg EXTRAS=all
ARG EXTRAS=worker,archive,flower,http,kafka
# The dependencies in a layer of their own, around an empty package: they change more seldom than the code.
COPY pyproject.toml constraints.txt LICENSE README.md ./
RUN mkdir kato_tasks && touch kato_tasks/__init__.py \
 && /app/bin/pip install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]"
COPY kato_tasks ./kato_tasks
RUN /app/bin/pip install --no-cache-dir --no-deps --force-reinstall . \
 && /app/bin/pip uninstall --yes --quiet pip setuptools

FROM python:3.11-slim
# /data is the embedded KATO's; a volume that is mounted there gets this owner.
RUN useradd --system --create-home --home-dir /home/kato --uid 10001 kato \
 && install --directory --owner kato --group kato /data
COPY --from=build /app /app
# The deployment modules: python -m workers.lanes, workers.http, workers.kafka, workers.health, beat.schedule and beat.health.
COPY workers /home/kato/workers
COPY beat /home/kato/beat
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER kato
WORKDIR /home/kato
CMD ["celery", "-A", "kato_tasks", "worker", "--loglevel", "INFO"]
