"""One file a family: its spec, which says where its vision tower is and how it is prompted."""
