"""An HTTP task queue in front of Amazon SQS."""
