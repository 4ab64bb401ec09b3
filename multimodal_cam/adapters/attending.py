"""The twins of our models that have attention, `sat` and `san`, for the engine."""

from __future__ import annotations

from torch import Tensor

from . import Inputs
from .lstm_q import LSTMQAdapter
from .nic import NICAdapter


class SATAdapter(NICAdapter):
    """A `SAT` and its vocabulary; its words' attention is over the cells of `project`, the tapped layer."""

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """The attention at each word `(b, t, h, w)`, between 0 and 1."""
        maps: Tensor = self.network.attend(activations, ids.clamp(min=0))
        return maps


class SANAdapter(LSTMQAdapter):
    """A `SAN`, its vocabulary and its answers; attention is over the cells of `project`, the tapped layer."""

    def attention(self, inputs: Inputs, ids: Tensor, activations: Tensor) -> Tensor:
        """The attention of the last hop `(b, t, h, w)`: it is the question's, the same for every answer."""
        assert inputs.question is not None
        _, hops = self.network.look(self.network.context(activations), self.network.read(inputs.question))
        last: Tensor = hops[-1].view(len(activations), 1, *activations.shape[2:])
        return last.expand(-1, ids.shape[1], -1, -1)
