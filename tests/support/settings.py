"""What the settings know."""

from mcp_queue.config.schema.document import every_setting


def known_variables() -> set[str]:
    """Return every variable that sets something."""
    return {variable for setting in every_setting() for variable in setting.env_var.names}
