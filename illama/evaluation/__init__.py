"""Measurements of a trained network, one file per property."""
