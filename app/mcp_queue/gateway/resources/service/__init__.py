"""Health, readiness, metrics and the API's own documents."""
