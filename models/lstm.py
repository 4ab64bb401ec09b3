"""The LSTM (Hochreiter and Schmidhuber, 1997), written out.

Its backward pass is then batched over words (`torch.autograd.grad(is_grads_batched=True)`), many times faster on CPU than the
fused `nn.LSTM`, and cuDNN, which refuses a backward pass in eval mode, is not involved.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTM(nn.Module):
    """Inputs `(b, t, d)` and which of them are real `(b, t)` -> hidden states `(b, t, width)`; at padding the last real one."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.input_gates, self.hidden_gates = gates(inputs, width)

    def forward(self, inputs: Tensor, real: Tensor) -> Tensor:
        """The hidden states `(b, t, width)`, all steps."""
        hidden, memory = None, None
        outputs = []
        for gate, mask in zip(self.input_gates(inputs).unbind(dim=1), real[..., None].unbind(dim=1), strict=True):
            if hidden is not None:
                gate = gate + self.hidden_gates(hidden)
            new_hidden, new_memory = lstm_step(gate, memory)
            hidden = new_hidden if hidden is None else torch.where(mask, new_hidden, hidden)
            memory = new_memory if memory is None else torch.where(mask, new_memory, memory)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1)


def gates(inputs: int, width: int) -> tuple[nn.Linear, nn.Linear]:
    """The gates' two halves, from the input and from the hidden state: orthogonal, with an open forget gate."""
    from_input, from_hidden = nn.Linear(inputs, 4 * width), nn.Linear(width, 4 * width, bias=False)
    nn.init.orthogonal_(from_hidden.weight)
    nn.init.zeros_(from_input.bias)
    nn.init.ones_(from_input.bias.data[width : 2 * width])
    return from_input, from_hidden


def lstm_step(gates: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
    """All four gates `(b, 4 width)` before their nonlinearity, and the memory before -> hidden state and memory after."""
    open_, new = gates.tensor_split([gates.shape[-1] // 4 * 3], dim=-1)
    i, f, o = open_.sigmoid().chunk(3, dim=-1)
    update = i * tanh(new)
    memory = update if memory is None else f * memory + update
    return o * tanh(memory), memory


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent, by way of the sigmoid: unlike `torch.tanh` its backward pass is batched under `vmap`."""
    return 2 * torch.sigmoid(2 * x) - 1
