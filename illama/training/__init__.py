"""The training loop, from one update to several processes."""
