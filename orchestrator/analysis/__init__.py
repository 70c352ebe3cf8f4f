"""Numbers from records: rows, effects, comparisons. No words."""
