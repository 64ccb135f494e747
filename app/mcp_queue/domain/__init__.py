"""Rules as data and pure functions: no await, no clock, no randomness, no environment."""
