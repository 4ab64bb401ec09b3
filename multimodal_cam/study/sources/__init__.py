"""Photos of a study, and the words on them whose places are known."""
