"""How a number is written, everywhere a person reads one."""

from __future__ import annotations

NOTHING = "–"


def number(value: float | None, pattern: str) -> str:
    """With a true minus sign, and without a sign if it rounds to zero."""
    if value is None:
        return NOTHING
    text = pattern.format(value)
    is_zero = not any(digit in text for digit in "123456789")
    return text.lstrip("+-") if is_zero else text.replace("-", "−")
