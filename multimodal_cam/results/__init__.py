"""Explanations as data: records of words and maps, saved folders, JSON."""
