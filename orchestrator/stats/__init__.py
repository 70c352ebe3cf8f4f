"""Pure mathematics of paired comparisons: intervals and p-values, contrasts of designs, power."""
