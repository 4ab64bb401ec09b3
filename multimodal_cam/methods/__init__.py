"""CAM methods: functions of activations and gradients, integrals along a path, the model's own attention."""

from .spec import METHODS, MethodSpec, find_method

__all__ = ["METHODS", "MethodSpec", "find_method"]
