"""Readers of captions, boxes and questions in the datasets' own layouts."""
