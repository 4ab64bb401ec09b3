"""Stacked Attention Networks: VQA model with attention, the twin of `lstm-q`."""
