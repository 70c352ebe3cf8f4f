"""How much a spec may ask for: planning looks at each trial, at a rate of some thousand a second."""

MOST_TRIALS = 10_000
"""Trials that a sweep may have, and its searches."""
MOST_TRIED = 5_000
"""Combinations of one search."""
