"""What a command ends with when it cannot do its work."""


class CommandError(Exception):
    """The message is shown as it is, without a traceback; the process ends with ``exit_code``."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """Keep the exit code: 1, or 2 where what was typed or configured is wrong."""
        super().__init__(message)
        self.exit_code = exit_code
