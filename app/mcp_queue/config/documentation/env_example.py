"""Writes ``.env.example``, the file with every setting and its default."""

import textwrap

from mcp_queue.config.declaration import Setting
from mcp_queue.config.documentation.descriptions import default_of, facts_of
from mcp_queue.config.schema.document import every_setting

_HEAD = """\
# Every setting with its default. Remove the # before what you change, then start with
#   set -a; . ./.env; set +a; make run
# The YAML file that QUEUE_CONFIG names has the setting at the key in brackets; what is set here beats the file.
# Durations are seconds, or numbers with units: 100ms, 90s, 5m, 1h30m, 7d. Lists are separated by commas.
"""


def env_example() -> str:
    """Return the text of ``.env.example``."""
    return _HEAD + "".join(f"\n{_example(setting)}\n" for setting in every_setting())


def _example(setting: Setting) -> str:
    env_var, default = setting.env_var, default_of(setting)
    lines = textwrap.wrap(env_var.description, 110, initial_indent="# ", subsequent_indent="# ")
    if facts := facts_of(setting):
        lines.append(f"# {facts[0].upper()}{facts[1:]}.")
    if env_var.default not in {"", default}:
        lines.append(f"# Default: {env_var.default}.")
    if len(setting.path) > 1:
        lines.append(f"# [{setting.key}]")
    return "\n".join([*lines, f"#{env_var.name}={default}"])
