"""What the processes tell of themselves: logs, metrics and traces."""
