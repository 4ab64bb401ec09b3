"""Bundled networks, one folder each (`network`, `spec`, weights, card), the blocks that they share, and their training."""
