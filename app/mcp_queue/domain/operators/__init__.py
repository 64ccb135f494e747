"""API keys, rate limits, and the audit log of operators' actions."""
