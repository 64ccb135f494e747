"""How values are written: JSON, task bodies, durations and ids."""
