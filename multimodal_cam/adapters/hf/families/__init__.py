"""One file a family: where its vision tower is, and how it is prompted."""
