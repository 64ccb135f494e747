"""Shows destinations of callbacks, and pauses and resumes them."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from mcp_queue.domain.callbacks.destinations import canonical_name
from mcp_queue.domain.errors import NotFoundError
from mcp_queue.domain.operators.audit import DestinationView
from mcp_queue.ports import Clock, Destinations
from mcp_queue.services.enqueueing.validation import MAX_NAME

# Consumers tell every 5 s: after several silent rounds one is gone, or knows nothing of the destination any more.
_FRESH = timedelta(seconds=30)


class DestinationSwitches:
    """Shows destinations, and pauses and resumes them for every consumer.

    Every method raises ``LedgerDisabledError`` where there is no ledger, ``LedgerUnavailableError`` where it does not
    answer.
    """

    def __init__(self, store: Destinations, own_names: Collection[str], clock: Clock) -> None:
        """Keep pauses in ``store``; ``own_names`` are those that routes have beside scheme, host and port."""
        self._store = store
        self._own_names = own_names
        self._clock = clock

    async def list_destinations(self) -> Sequence[DestinationView]:
        """Return destinations by name: those that consumers told of lately, and those that are paused."""
        return await self._store.list_destinations(self._clock.now() - _FRESH)

    async def pause(self, written: str) -> DestinationView:
        """Let no consumer call the destination within 5 s; its tasks are deferred.

        Raises:
            NotFoundError: no route has this name, and it is no URL.

        """
        name = self._name(written)
        await self._store.pause(name)
        return await self._view(name)

    async def resume(self, written: str) -> DestinationView:
        """Let consumers call the destination again within 5 s.

        Raises:
            NotFoundError: no route has this name, and it is no URL.

        """
        name = self._name(written)
        await self._store.resume(name)
        return await self._view(name)

    def _name(self, written: str) -> str:
        name = canonical_name(written)
        if name is None or ("://" not in name and name not in self._own_names):
            message = f"{written[:MAX_NAME]!r} is no destination: neither a URL nor the name of a route"
            raise NotFoundError(message)
        return name

    async def _view(self, name: str) -> DestinationView:
        found = await self.list_destinations()
        return next((view for view in found if view.name == name), DestinationView(name, paused=False))
