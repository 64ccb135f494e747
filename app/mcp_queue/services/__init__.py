"""What the product does with queues, told in terms of ports."""
