"""Entry of `sat` in the table of bundled models."""

from pathlib import Path

from ..bundled_spec import BundledModelSpec
from .network import SAT, SATConfig

SPEC = BundledModelSpec(
    name="sat",
    task="captioning",
    network=SAT,
    config=SATConfig,
    adapter="multimodal_cam.adapters.bundled:SATAdapter",
    folder=Path(__file__).parent,
)
