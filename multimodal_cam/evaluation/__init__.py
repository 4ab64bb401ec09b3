"""Quality of a model's texts: captions against human ones, answers against known ones."""
