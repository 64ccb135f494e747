"""The error that a command ends with when it cannot do its work."""


class CommandError(Exception):
    """Ends the command: the message is printed without a traceback.

    ``exit_code`` is 1, or 2 where the command line or the configuration holds a mistake.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
