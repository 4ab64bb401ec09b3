"""LSTM Q + norm I: VQA model without attention."""
