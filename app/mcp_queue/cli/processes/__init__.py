"""Commands that run the gateway and the consumer."""
