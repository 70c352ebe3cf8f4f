"""Files of weights: checkpoints, released files, larger models as a start, a network ready to be
served.
"""
