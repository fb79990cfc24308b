"""What is raised for a packed file that cannot be read."""

from __future__ import annotations

from suite.errors import UserError


class PackError(UserError, ValueError):
    """The file is damaged, cut short, or not what it says it is."""
