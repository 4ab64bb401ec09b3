"""Entry of `lstm-q` in the table of bundled models."""

from pathlib import Path

from ..bundled_spec import BundledModelSpec
from .network import LSTMQ, LSTMQConfig

SPEC = BundledModelSpec(
    name="lstm-q",
    task="vqa",
    network=LSTMQ,
    config=LSTMQConfig,
    adapter="multimodal_cam.adapters.bundled:LSTMQAdapter",
    folder=Path(__file__).parent,
)
