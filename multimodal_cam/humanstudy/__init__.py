"""Studies with people: which maps help a reader. A blinded page for raters, and the scores of their answers."""
