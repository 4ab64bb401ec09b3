"""Ablations of the Grad-CAM paper, one change at a time: `study captions --preset ablations`."""

from __future__ import annotations

from dataclasses import replace

from ..adapters.contract import TaskAdapter
from ..adapters.load import load
from .config import Settings
from .measure.spatial_stages import spatial_stages

GRIDS = ("multimodal_cam.study.ablations:nic_14x14", "multimodal_cam.study.ablations:nic_7x7")
STEPS = (1, 2, 4, 16)
SCORES = ("log_prob", "logit", "contrast")
CONTROLS = ("centre", "uniform", "activation", "other_word")


def ablations(settings: Settings) -> Settings:
    """Settings of the ablations of `grad_cam` and `evidence` on the first model: layers, pooling of gradients, ReLU, steps, and
    scores (the model's default first); for `nic` also coarser grids. Every study has rows for words and for phrases."""
    model = settings.models[0]
    adapter = load(model, device="cpu")
    layers = [stage.name for stage in spatial_stages(adapter)[:-1]]
    scores = sorted(SCORES, key=lambda name: name != adapter.default_score)
    changed = [f"grad_cam:layer={name}" for name in layers] + ["grad_cam:pool=max", "grad_cam:pool=abs", "grad_cam:relu=no"]
    changed += [f"evidence:n_steps={n}" for n in STEPS if n != settings.n_steps]
    models = (model, *GRIDS) if model == "nic" else (model,)
    methods = ("grad_cam", "evidence", *changed)
    return replace(settings, models=models, methods=methods, scores=tuple(scores), one_at_a_time=True)


def nic_14x14() -> TaskAdapter:
    """`nic` with photos of 224 instead of 320 pixels: 14 x 14 instead of 20 x 20 cells, the same weights."""
    return _regridded("nic 14 x 14", image_size=224)


def nic_7x7() -> TaskAdapter:
    """`nic` as it was trained, with an encoder of stride 32 on 224 pixels: 7 x 7 cells, the same weights."""
    return _regridded("nic 7 x 7", image_size=224, output_stride=32)


def _regridded(name: str, **changes: int) -> TaskAdapter:
    from ..adapters.bundled import NICAdapter
    from ..models.bundle import BUNDLED, load_model

    trained = load_model(BUNDLED / "nic")
    network = type(trained.network)(replace(trained.network.config, **changes))
    network.load_state_dict(trained.network.state_dict())
    return NICAdapter(network.eval(), trained.vocabulary, name, trained.sha256)
