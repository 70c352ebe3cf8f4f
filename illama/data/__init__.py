"""Data sets, and what becomes of a picture before the network sees it."""

from illama.dataset import Dataset

__all__ = ["Dataset"]
