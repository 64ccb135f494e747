"""What a caller sees of tasks."""

from mcp_queue.domain.operators.keys import Caller, KeyScope


def seen_by(caller: Caller, members: dict[str, object]) -> dict[str, object]:
    """Return an answer without what clients and handlers put into the task, unless ``caller`` may see that.

    What stands there instead does not depend on what is hidden.
    """
    if caller.may(KeyScope.PAYLOADS):
        return members
    shown = {**members, "redacted": True}
    shown.pop("body", None)
    if "payload" in shown:
        shown["payload"] = None
    result, task = shown.get("result"), shown.get("task")
    if isinstance(result, dict):
        shown["result"] = {**result, "result": None}
    if isinstance(task, dict):  # that of a schedule
        shown["task"] = {name: value for name, value in task.items() if name != "payload"}
    return shown
