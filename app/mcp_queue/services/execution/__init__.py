"""Turns deliveries into attempts, and settles each when its attempt has ended."""
