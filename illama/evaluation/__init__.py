"""What is measured on a trained network, one file per property."""
