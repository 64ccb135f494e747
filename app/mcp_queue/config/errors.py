"""What a wrong configuration ends with."""

from collections.abc import Sequence


class ConfigError(Exception):
    """The configuration cannot be used. Each of ``problems`` is one readable line that begins with the key."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep every line."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
