"""The spec compared with the store: what is to be done next, what it will take, and how far it
is.
"""
