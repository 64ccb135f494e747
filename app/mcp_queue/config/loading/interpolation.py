"""Replaces ``${VAR}`` and ``${VAR:-default}`` in the texts of the configuration file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_REFERENCE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|(?P<bad>\{))"
)


@dataclass(slots=True)
class Interpolation:
    """Fills ``environ`` into a parsed file, and collects the variables that it used and every mistake.

    A variable that is empty counts as unset. ``$$`` is a dollar sign.
    """

    environ: Mapping[str, str]
    used: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def apply(self, value: object, key: str = "") -> object:
        """Return ``value`` with every text in it filled in; a text that ends up empty becomes None."""
        if isinstance(value, dict):
            return {name: self.apply(item, f"{key}.{name}" if key else str(name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.apply(item, f"{key}[{label(item, index)}]") for index, item in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            return _REFERENCE.sub(lambda match: self._replacement(match, key), value) or None
        return value

    def _replacement(self, match: re.Match[str], key: str) -> str:
        if match["escaped"]:
            return "$"
        name = match["name"]
        if match["bad"]:
            self.problems.append(f"{key}: '${{' begins neither ${{VAR}} nor ${{VAR:-default}}; a dollar sign is $$")
            return ""
        self.used.add(name)
        value = self.environ.get(name, "") or match["default"]
        if value is None:
            state = "empty" if name in self.environ else "not set"
            self.problems.append(f"{key}: the variable {name} is {state}")
            return ""
        return value


def label(item: object, index: int) -> str:
    """Return the name of a list's element in a key: its ``name`` or ``type`` if it has one, else its index."""
    names = (item.get("name"), item.get("type")) if isinstance(item, dict) else ()
    return next((name for name in names if isinstance(name, str) and name), str(index))
