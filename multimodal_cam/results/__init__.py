"""Explanations: the data, the public class, folders and records."""
