"""The report in the forms that people read: terminal, Markdown, HTML, LaTeX, figures and tables."""

WIDTH = 200
"""Columns of a table in a file, which has no width of its own: better a long line than a broken
table.
"""
