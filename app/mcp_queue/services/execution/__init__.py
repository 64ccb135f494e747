"""How a delivery becomes an attempt, and how the attempt ends."""
