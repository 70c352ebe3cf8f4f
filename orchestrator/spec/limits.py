"""Limits on what a spec may ask for: planning looks at each trial, some thousand a second."""

MOST_TRIALS = 10_000
"""Trials that a sweep may have, and its searches."""
MOST_TRIED = 5_000
"""Combinations of one search."""
