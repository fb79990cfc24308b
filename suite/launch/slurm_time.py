"""Slurm's ways of writing durations: time limits as people write them, and what its commands print."""

from __future__ import annotations

import re

FORMS = 'minutes ("30"), hours:minutes:seconds ("02:00:00") or days-hours:minutes:seconds ("1-00:00:00")'
_DAYS = re.compile(r"(?P<d>\d+)-(?P<h>\d+)(:(?P<m>\d+)(:(?P<s>\d+))?)?", re.ASCII)
_HOURS = re.compile(r"(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)", re.ASCII)
_MINUTES = re.compile(
    r"(?P<m>\d+)(:(?P<s>\d+))?", re.ASCII
)  # two numbers are minutes and seconds, not hours and minutes
_MINUTES_OF = {"d": 24 * 60.0, "h": 60.0, "m": 1.0}


def minutes_of(text: str) -> int | None:
    """Whole minutes, seconds rounded up as Slurm does; None for "UNLIMITED" and the like.

    Raises:
        ValueError: if Slurm would not understand it.
    """
    if text.upper() in ("UNLIMITED", "INFINITE", "-1"):
        return None
    found = _DAYS.fullmatch(text) or _HOURS.fullmatch(text) or _MINUTES.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time; write {FORMS}")
    parts = {unit: int(value) for unit, value in found.groupdict(default="0").items()}
    seconds = parts.pop("s")
    return int(sum(_MINUTES_OF[unit] * value for unit, value in parts.items())) + -(-seconds // 60)


def slurm_time(minutes: int | None) -> str:
    """The usual long form: 90 is 01:30:00, 1500 is 1-01:00:00."""
    if minutes is None:
        return "UNLIMITED"
    hours, rest = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hours:02}:{rest:02}:00"


def seconds(text: str) -> float | None:
    """Seconds of [days-][hours:]minutes:seconds[.fraction], as Slurm prints them; None for UNLIMITED and the like."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if found is None:
        return None
    days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest
