"""What every request passes before its route: connections, limits, authentication, bodies."""
