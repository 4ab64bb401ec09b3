"""Dataset readers and sample photos."""
