"""The YAML text of a sweep, read and checked, and the variants that it describes."""
