"""CAM methods: functions of activations and gradients, integrals along a path, the model's own attention."""

from .spec import METHOD_NAMES, METHODS, MethodSpec, find_method

__all__ = ["METHOD_NAMES", "METHODS", "MethodSpec", "find_method"]
