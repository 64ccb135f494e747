"""Commands that run the gateway, the consumer, or both."""

import errno
import signal
import sys
from collections.abc import Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mcp_queue.cli.context import load_keys, load_settings
from mcp_queue.cli.errors import CommandError

if TYPE_CHECKING:
    from mcp_queue.config import Settings
    from mcp_queue.domain.operators.keys import ApiKey

_UntilStdinCloses = Annotated[
    bool, typer.Option("--until-stdin-closes", hidden=True, help="Stop when the standard input is closed.")
]
_NETWORKS = "CALLBACK_ALLOWED_NETWORKS"
_LOOPBACK = "127.0.0.0/8,::1/128"
#: Time that a process may need to end beyond its grace period and the long polls in progress.
_MARGIN = timedelta(seconds=10)
_START_TIMEOUT = timedelta(minutes=1)
_UNUSABLE_ADDRESS = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES})


def gateway(*, until_stdin_closes: _UntilStdinCloses = False) -> None:
    """Run the HTTP gateway."""
    _end_on_sigterm()
    settings = load_settings()
    keys = load_keys(settings)
    from mcp_queue import config
    from mcp_queue.wiring.gateway import run_gateway

    def reread() -> "tuple[ApiKey, ...] | None":
        return config.load_keys(config.load_settings(config.environment()))

    _serve(run_gateway(settings, keys, reread), settings, until_stdin_closes=until_stdin_closes)


def consumer(*, until_stdin_closes: _UntilStdinCloses = False) -> None:
    """Run a consumer: receive tasks and execute them."""
    _end_on_sigterm()
    settings = load_settings()
    from mcp_queue.wiring.consumer import run_consumer

    _serve(run_consumer(settings), settings, until_stdin_closes=until_stdin_closes)


def dev() -> None:
    """Run gateway and consumer together, for development.

    Callbacks may reach loopback addresses, unless the settings name other networks. Ctrl-C stops both.
    """
    from mcp_queue.config import environment

    environ = environment()
    settings = load_settings(environ, fallback={_NETWORKS: _LOOPBACK})
    environ[_NETWORKS] = ",".join(map(str, settings.callbacks.egress.allowed_networks))
    import asyncio

    from mcp_queue.cli.processes.supervisor import ChildCommand, supervise

    commands = [
        ChildCommand(name, [sys.executable, "-P", "-m", "mcp_queue", name, "--until-stdin-closes"], environ)
        for name in ("gateway", "consumer")
    ]
    outcome = asyncio.run(supervise(commands, lambda: _announce(settings), _longest_stop(settings)))
    if outcome.ended_first is not None:
        message = f"the {outcome.ended_first} has ended, so the other was stopped"
        raise CommandError(message, outcome.exit_code)
    sys.exit(outcome.exit_code)


async def _announce(settings: "Settings") -> None:
    from mcp_queue.cli.processes.banner import banner, reachable, wait_for

    if await wait_for(reachable(settings.gateway.host), settings.gateway.port, _START_TIMEOUT):
        typer.echo(banner(settings))


def _end_on_sigterm() -> None:
    """Let SIGTERM end a process that is still starting as it ends one that serves: cleanly, with 0."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _serve(running: Coroutine[None, None, None], settings: "Settings", *, until_stdin_closes: bool) -> None:
    import uvloop

    from mcp_queue.domain.errors import QueueError

    if until_stdin_closes:
        from mcp_queue.cli.processes.parent_watch import stop_with_stdin

        stop_with_stdin(_longest_stop(settings))
    try:
        uvloop.run(running)
    except QueueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        if error.errno not in _UNUSABLE_ADDRESS:
            raise
        raise CommandError(str(error)) from error


def _longest_stop(settings: "Settings") -> timedelta:
    """Return how long a clean stop may take: long polls end first, then running tasks get their grace period."""
    return settings.sqs.wait_time + settings.shutdown_grace + _MARGIN
