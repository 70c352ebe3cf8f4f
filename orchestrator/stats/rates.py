"""Shares of trials that did not train as they should, and whether two of them differ. Pure.

Where some trials of a comparison failed, diverged or collapsed, the difference of the means of the
others says little: which trials survive is itself an effect. What is compared then is how many
survive, by Fisher's exact test.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Trials that did not train as they should, among those that have ended."""

    bad: int
    of: int
    how: str = ""
    """Outcomes of the bad ones: `diverged`, or `(1 diverged, 1 failed)`."""

    @property
    def share(self) -> float:
        """0 without any trial."""
        return self.bad / self.of if self.of else 0.0

    @property
    def text(self) -> str:
        """`2 of 6 diverged`."""
        return f"{self.bad} of {self.of} {self.how}".strip()

    @property
    def ci95(self) -> tuple[float, float]:
        """Clopper and Pearson's exact interval of the share; all of [0, 1] without any trial."""
        from scipy.special import betaincinv

        low, high = 0.0, 1.0
        if self.bad > 0:
            low = float(betaincinv(self.bad, self.of - self.bad + 1, 0.025))
        if self.bad < self.of:
            high = float(betaincinv(self.bad + 1, self.of - self.bad, 0.975))
        return low, high


@dataclass(frozen=True)
class Rates:
    """Rates of two variants."""

    here: Rate
    there: Rate

    @property
    def text(self) -> str:
        """`2 of 6 diverged against 0 of 6`."""
        return f"{self.here.text} against {self.there.text}"

    @property
    def p_value(self) -> float:
        """Two-sided p-value of Fisher's exact test.

        It sums the tables with these totals that are at most as likely as the one found, in whole
        numbers, so that ties are exact.
        """
        here, there = self.here, self.there
        bad = here.bad + there.bad
        ways = {
            k: math.comb(here.of, k) * math.comb(there.of, bad - k)
            for k in range(max(0, bad - there.of), min(bad, here.of) + 1)
        }
        as_extreme = sum(count for count in ways.values() if count <= ways[here.bad])
        return as_extreme / math.comb(here.of + there.of, bad)
