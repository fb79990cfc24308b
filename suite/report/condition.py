"""To which trials a published figure belongs: conditions on their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.errors import UserError, choices

Options = Mapping[str, Any]  # dotted name of a setting -> its value, a list of possible values, or one of WORDS

WORDS = ("exists", "absent", "any")
UNLESS_SAID = {"prune": "absent"}  # a figure is of a network that was not pruned, unless its options speak of `prune`


def meets(options: Options, settings: Mapping[str, Any]) -> bool:
    """Whether a trial's settings (dotted) meet all conditions.

    Raises:
        UserError: if there is no such setting, naming those there are.
    """
    return all(_holds(name, wanted, settings) for name, wanted in _complete(options).items())


def fits(options: Options, settings: Mapping[str, Any]) -> bool:
    """The same for trials of any method: one that has no such setting does not meet a condition on it."""
    return all(
        (wanted in WORDS or _is_known(name, settings)) and _holds(name, wanted, settings)
        for name, wanted in _complete(options).items()
    )


def _complete(options: Options) -> dict[str, Any]:
    """With what goes without saying; a condition on a part of a group speaks of the group."""
    spoken_of = {name.partition(".")[0] for name in options}
    unsaid = {name: wanted for name, wanted in UNLESS_SAID.items() if name not in spoken_of}
    return {**unsaid, **options}


def _holds(name: str, wanted: Any, settings: Mapping[str, Any]) -> bool:
    if wanted == "any":
        return True
    if wanted in ("exists", "absent"):
        return _is_set(name, settings) is (wanted == "exists")
    if not _is_known(name, settings):
        raise UserError(
            f"published figure: {name!r} is no setting of {settings.get('method.name')}{choices(name, settings)}"
        )
    value = settings.get(name)  # may be a list itself
    return bool(value == wanted) or (isinstance(wanted, (list, tuple)) and value in wanted)


def _is_known(name: str, settings: Mapping[str, Any]) -> bool:
    return name in settings or _is_part_of_none(name, settings) or _is_set(name, settings)


def _is_set(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a setting, or a part of it, has a value."""
    return any(key == name or key.startswith(f"{name}.") for key, value in settings.items() if value is not None)


def _is_part_of_none(name: str, settings: Mapping[str, Any]) -> bool:
    """Such as `prune.kept` where `prune` is None."""
    above, dot, _ = name.rpartition(".")
    return bool(dot) and ((above in settings and settings[above] is None) or _is_part_of_none(above, settings))
