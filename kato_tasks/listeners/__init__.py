"""Read events from Kafka, RabbitMQ and Redis Streams, and append them to the log."""
