"""The type of options that are seconds."""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["Seconds"]


class Seconds(click.FloatRange):
    """A number within a range; neither infinity nor NaN, which is in every range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return seconds
