"""A flag of the process that several calls switch at once ends as it began."""

import pytest
import torch

from multimodal_cam.core.cudnn_switch import without_cudnn


@pytest.mark.parametrize("chosen", [True, False])
def test_calls_that_end_in_the_order_of_their_beginning(chosen, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "enabled", chosen)
    first, second = without_cudnn(), without_cudnn()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not torch.backends.cudnn.enabled
    second.__exit__(None, None, None)
    assert torch.backends.cudnn.enabled == chosen
