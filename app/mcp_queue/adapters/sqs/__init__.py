"""Amazon SQS: the one home of its client, its limits and its errors."""
