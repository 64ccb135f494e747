"""Destinations of callbacks: their state and their pause switch."""
