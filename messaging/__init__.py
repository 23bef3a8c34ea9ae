"""Everything between a database transaction and RabbitMQ. Knows no word of any business."""
