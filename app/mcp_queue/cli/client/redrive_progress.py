"""Shows the progress of a redrive that runs in the gateway."""

import asyncio
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mcp_queue.cli.client.http import GatewayClient

_INTERVAL = 0.5


async def watch(gateway: GatewayClient, redrive: dict[str, Any]) -> dict[str, Any]:
    """Poll ``redrive`` until it has ended, with a progress bar on standard error; return its last state."""
    console = Console(stderr=True, highlight=False)
    columns = TextColumn("redriving"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=redrive["matched"])
        try:
            while redrive["status"] == "running":
                await asyncio.sleep(_INTERVAL)
                redrive = await gateway.get(f"/v1/redrives/{redrive['id']}")
                progress.update(bar, total=redrive["matched"], completed=redrive["redriven"] + redrive["failed"])
        except asyncio.CancelledError:
            stop = f"POST /v1/redrives/{redrive['id']}/cancel"
            console.print(f"The redrive goes on in the gateway; {stop} stops it.", markup=False)
            raise
    return redrive
