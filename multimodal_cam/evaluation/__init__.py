"""How good a model is: captions against human ones, answers against known ones."""
