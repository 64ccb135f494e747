"""Settings of the property tests."""

from hypothesis import HealthCheck, settings

# Machines that run tests are busy with other things, too: how long an example takes says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
