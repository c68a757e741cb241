"""Publish predictions, as events are applied, to Kafka, RabbitMQ or a Redis stream."""
