"""What the settings know."""

from mcp_queue.config.loading.layers import every_setting


def known_variables() -> set[str]:
    """Return every variable that sets something."""
    return {variable for setting in every_setting() for variable in setting.knob.variables}
