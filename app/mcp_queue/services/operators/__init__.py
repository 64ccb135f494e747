"""What operators see and switch."""
