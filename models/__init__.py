"""Reference networks: readable files, their training scripts, their weights and cards."""
