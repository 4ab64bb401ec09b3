"""Training of the bundled networks: recipes, their run, and the cache of frozen features."""
