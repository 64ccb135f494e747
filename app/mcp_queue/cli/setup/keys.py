"""The command that creates API keys."""

from typing import TYPE_CHECKING, Annotated

import typer

from mcp_queue.domain.operators.keys import KeyScope

if TYPE_CHECKING:
    from datetime import timedelta


def create(
    *,
    name: Annotated[str, typer.Option(help="Who uses the key, for the audit log.")],
    scope: Annotated[list[KeyScope], typer.Option(help="What the key allows; may be repeated.")],
    queue: Annotated[
        list[str] | None, typer.Option(help="The only queue that the key may use; may be repeated. Default: all.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long the key is valid, such as 90d. Default: forever.")
    ] = None,
) -> None:
    """Create a key and print it, with the line for GATEWAY_API_KEYS_FILE, which holds only its hash."""
    import secrets
    from base64 import urlsafe_b64encode

    from mcp_queue.domain.operators.keys import PREFIX, SECRET_BYTES, digest_of

    entry: dict[str, object] = {"name": name, "hash": "", "scopes": [item.value for item in dict.fromkeys(scope)]}
    if queue:
        entry["queues"] = list(dict.fromkeys(queue))
    if expires is not None:
        entry["expires_at"] = _time_after(_duration(expires))
    secret = PREFIX + urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).decode().rstrip("=")
    entry["hash"] = f"sha256:{digest_of(secret.encode()).hex()}"
    line = _line(entry)
    typer.echo("The key, which is shown this once, and its line for GATEWAY_API_KEYS_FILE:", err=True)
    typer.echo(secret)
    typer.echo(line)


def _duration(text: str) -> "timedelta":
    from mcp_queue.domain.formats.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expires") from error


def _time_after(after: "timedelta") -> str:
    from mcp_queue.adapters.clock import SystemClock

    try:
        return f"{SystemClock().now() + after:%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError as error:
        raise typer.BadParameter("is too long", param_hint="--expires") from error


def _line(entry: dict[str, object]) -> str:
    """Return ``entry`` as an element of a YAML list.

    Raises:
        CommandError: the configuration would refuse it.

    """
    import json

    from pydantic import ValidationError

    from mcp_queue.cli.errors import CommandError
    from mcp_queue.config.loading.validation import problems_of
    from mcp_queue.config.schema.entries import KeyEntry

    try:
        KeyEntry.model_validate(entry)
    except ValidationError as error:
        raise CommandError("\n".join(problems_of(error, KeyEntry, entry, {})), 2) from error
    # JSON is YAML, whatever characters a name holds.
    return f"- {json.dumps(entry)}"
