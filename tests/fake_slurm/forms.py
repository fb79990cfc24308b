"""Slurm's notation: times, exit codes, ranges, names of output files."""

from __future__ import annotations

import os
import re
import time

from tests.fake_slurm.store import Task, setting


def stamp(seconds: float | None, missing: str = "Unknown") -> str:
    """A time as SLURM_TIME_FORMAT asks, by default 2026-11-24T10:57:34."""
    if seconds is None:
        return missing
    form = os.environ.get("SLURM_TIME_FORMAT", "standard")
    return time.strftime("%Y-%m-%dT%H:%M:%S" if form in ("standard", "") else form, time.localtime(seconds))


def elapsed(seconds: float) -> str:
    """[D-]HH:MM:SS, as sacct and scontrol write it."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hour:02}:{minute:02}:{second:02}"


def ran(task: Task) -> float:
    """Seconds that a task has run, on the cluster's clock: where a minute takes a second, a second counts for a minute."""
    if task["start"] is None:
        return 0.0
    seconds: float = (task["end"] or time.time()) - task["start"]
    return seconds * 60 / float(setting("minute")) + float(task["skipped"])


def short_elapsed(seconds: float) -> str:
    """[[D-]H:]MM:SS, as squeue writes it."""
    text = elapsed(seconds)
    text = text[3:] if text.startswith("00:") else text
    return text[1:] if text.startswith("0") else text


def limit(text: str) -> float | None:
    """Seconds of a --time: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S; None for no limit.

    Raises:
        ValueError: if it is none of these.
    """
    if text.upper() in ("", "0", "UNLIMITED", "INFINITE"):
        return None
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def indices(text: str) -> tuple[list[int], int | None]:
    """An --array: `0-9%3`, `1,3,5-8:2`; the indices and how many may run at once.

    Raises:
        ValueError: if it is none.
    """
    ranges, percent, throttle = text.partition("%")
    found: list[int] = []
    for part in ranges.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if not match:
            raise ValueError(text)
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or last - first > 10**6:
            raise ValueError(text)
        found.extend(range(first, last + 1, step))
    return sorted(set(found)), int(throttle) if percent else None


def ranges(numbers: list[int]) -> str:
    """0-3,5"""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def exit_code(status: int | None) -> str:
    """`code:signal` of a wait status as sacct writes it: of codes above 127 it takes 128 away (255 is 127:0)."""
    if status is None:
        return "0:0"
    code, number = os.WEXITSTATUS(status), os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return f"{code - 128 if code >= 128 else code}:{number}"


def hosts(text: str) -> list[str]:
    """n[1-3,7],m2 as single names."""
    found = []
    for prefix, inside, name in re.findall(r"([^,\[\]]+)\[([^\]]+)\]|([^,\[\]]+)", text):
        found += [f"{prefix}{number}" for number in indices(inside)[0]] if inside else [name]
    return found


def host_list(names: list[str]) -> str:
    """n[1-3,7]: the nodes of the fake are all an n and a number."""
    if len(names) == 1:
        return names[0]
    return f"n[{ranges([int(name[1:]) for name in names])}]" if names else ""


NONE = 4294967294  # what %a says outside of arrays


def file_name(pattern: str, task: Task, *, step: str = "batch", rank: int = 0, node: str = "") -> str:
    """An output file's name, with %A %a %j %x ... replaced, and zeros before numbers as in %4a."""
    values = {
        "A": task["array"],
        "a": NONE if task["index"] is None else task["index"],
        "j": task["job"],
        "J": f"{task['job']}.{step}",
        "s": step,
        "t": rank,
        "n": 0,
        "N": node,
        "x": task["name"],
        "u": task["user"],
        "%": "%",
    }
    return re.sub(r"%(\d*)([AajJstnNxu%])", lambda m: str(values[m[2]]).rjust(int(m[1] or 0), "0"), pattern)
