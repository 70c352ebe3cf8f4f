"""Trials on every core and node that Ray sees. The only package that imports ray."""
