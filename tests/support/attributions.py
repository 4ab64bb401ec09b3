"""The engine without `explain`: a batch and what is asked of it."""

from multimodal_cam.core.attribution import attribute
from multimodal_cam.core.forward_pass import AttributionRequest
from multimodal_cam.methods import find_method
from multimodal_cam.scores import find_score


class Attribution:
    """A batch and a request, to run through the engine: `Attribution(model, inputs, ids, layer_name, "grad_cam").explain()`."""

    def __init__(self, model, inputs, ids, layer_name, method, score="log_prob", **options):
        self.model, self.inputs, self.ids = model, inputs, ids
        self.request = AttributionRequest(model.layer, layer_name, find_method(method), find_score(score), **options)

    def explain(self):
        return attribute(self.model, self.inputs, self.ids, self.request)
