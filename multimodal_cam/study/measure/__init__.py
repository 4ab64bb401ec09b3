"""Measurements of a study: maps of words and of controls, and the metrics of both."""
