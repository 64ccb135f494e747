"""Parses and writes JSON, task bodies, durations and ids."""
