"""Whether a long measurement was passed: criteria, each with what was found, and how a quantity grows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Criterion:
    """good: None where nothing was there to judge by. found: what the judgement is made from."""

    name: str
    good: bool | None
    found: str


@dataclass(frozen=True)
class Verdict:
    """To be printed by rich."""

    title: str
    criteria: list[Criterion]

    @property
    def good(self) -> bool:
        return all(criterion.good is not False for criterion in self.criteria)

    def __rich__(self):
        from rich.table import Table

        table = Table("criterion", "", "found", title=self.title)
        marks = {True: "[green]good", False: "[bold red]bad", None: "[yellow]not judged"}
        for criterion in self.criteria:
            table.add_row(criterion.name, marks[criterion.good], criterion.found)
        table.caption = "verdict: good" if self.good else "verdict: bad"
        return table


def growth(times, values) -> float:
    """How much a quantity grows from the first time to the last, as a share of its median.

    By the median of the slopes between all pairs of values (Theil and Sen), which a few peaks do not move. 0 for
    fewer than three values.
    """
    from scipy.stats import theilslopes

    times, values = np.asarray(times, float), np.asarray(values, float)
    if len(times) < 3:
        return 0.0
    return float(theilslopes(values, times)[0] * (times[-1] - times[0]) / max(np.median(values), 1e-9))
