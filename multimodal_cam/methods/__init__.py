"""CAM methods: functions of activations and gradients, path integrals, attention."""
