"""Plain files, the one truth: what was trained, by whom, and how it ended. Facts only; policy is
asked elsewhere.
"""
