"""Rules of enqueueing: payload models and claims on keys."""
