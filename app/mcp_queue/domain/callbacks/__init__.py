"""Where callbacks may go, how they are signed, and when a destination is left alone."""
