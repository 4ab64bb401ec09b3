"""Tensors, hooks, geometry and spans: what explaining is made of; no model is known here."""
