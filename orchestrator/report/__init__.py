"""From records to the roadmap: `roadmap` computes it, `terminal` and `markup` show it."""

WIDTH = 200
"""Columns of a table in a file, which has no width of its own: better a long line than a broken table."""
