"""What a request to enqueue may ask for."""
