"""Publish events for a listener to Kafka, RabbitMQ or a Redis stream."""
