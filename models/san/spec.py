"""Entry of `san` in the table of bundled models."""

from pathlib import Path

from ..bundled_spec import BundledModelSpec
from .network import SAN, SANConfig

SPEC = BundledModelSpec(
    name="san",
    task="vqa",
    network=SAN,
    config=SANConfig,
    adapter="multimodal_cam.adapters.bundled:SANAdapter",
    folder=Path(__file__).parent,
)
