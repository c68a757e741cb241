"""RabbitMQ, through kombu."""
