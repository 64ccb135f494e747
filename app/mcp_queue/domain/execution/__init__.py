"""How an attempt is planned, routed and retried."""
