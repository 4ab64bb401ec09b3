"""Metrics of maps and captions: functions of tensors, boxes and strings, never of a model."""
