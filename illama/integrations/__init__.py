"""Callbacks that make a training loop of another library one trial of a sweep; each needs that
library.
"""
