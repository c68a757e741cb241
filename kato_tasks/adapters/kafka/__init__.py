"""Kafka, through confluent-kafka (librdkafka)."""
