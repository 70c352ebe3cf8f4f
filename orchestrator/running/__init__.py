"""One trial at a time: which is next, how it is trained, limited, measured and shown."""
