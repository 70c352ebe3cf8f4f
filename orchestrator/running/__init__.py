"""The life of one trial: which is next, how it is trained, limited, measured and shown."""
