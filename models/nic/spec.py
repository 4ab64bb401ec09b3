"""Entry of `nic` in the table of bundled models."""

from pathlib import Path

from ..bundled_spec import BundledModelSpec
from .network import NIC, NICConfig

SPEC = BundledModelSpec(
    name="nic",
    task="captioning",
    network=NIC,
    config=NICConfig,
    adapter="multimodal_cam.adapters.bundled:NICAdapter",
    folder=Path(__file__).parent,
)
