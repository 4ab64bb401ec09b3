"""Dataset readers, the maker of questions, and sample photos."""
