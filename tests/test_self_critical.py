"""Self-critical training: the reward is pycocoevalcap's, the gradient prefers better captions."""

import pytest
import torch

from multimodal_cam.models.nic import NIC, NICConfig
from multimodal_cam.models.self_critical import CiderD, sample, self_critical_loss
from multimodal_cam.models.vocabulary import BOS, EOS, UNK

CAPTIONS = [
    [[3, 4, 5, 6, 7], [3, 4, 5, 8, 9, 3]],
    [[10, 11, 12, 13], [10, 11, 4, 5]],
    [[3, 4, 14, 15, 16, 17, 18], [14, 15, 16]],
]


@pytest.mark.parametrize("said", [[3, 4, 5, 6, 7], [3, 4, 5], [10, 11, 12, 4, 4, 4, 4], [19]])
@pytest.mark.parametrize("photo", [0, 1, 2])
def test_the_reward_is_pycocoevalcaps_cider(said, photo):
    from pycocoevalcap.cider.cider import Cider

    def words(ids):
        return " ".join(map(str, ids))

    references = {i: [words(ids) for ids in own] for i, own in enumerate(CAPTIONS)}
    candidates = {i: [words(said if i == photo else [99])] for i in references}
    _, scores = Cider().compute_score(references, candidates)
    assert CiderD(CAPTIONS)(photo, said) == pytest.approx(scores[photo], abs=1e-6)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return NIC(NICConfig(20, width=16, max_words=5)).eval()


def test_samples_are_what_the_network_may_say(network):
    ids = sample(network, torch.randn(200, 16))
    assert not {BOS, UNK} & set(ids.unique().tolist())
    for row in ids.tolist():
        ended = row.index(EOS) if EOS in row else len(row)
        assert set(row[ended + 1 :]) <= {-1}
        assert -1 not in row[:ended]
    assert len({tuple(row) for row in ids.tolist()}) > 100


def test_better_captions_become_likelier(network):
    # Rewarded is the one word 7; likelihood of "7" must rise above all others.
    reward = CiderD([[[7, EOS]], [[8, EOS]]])
    pooled = torch.randn(1, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    seen = []
    for _ in range(60):
        loss, mean = self_critical_loss(network, pooled, [0], reward, samples=32)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(mean)
    assert sum(seen[-5:]) > 1.5 * sum(seen[:5])
    with torch.no_grad():
        probabilities = network.decode(pooled[..., None, None], torch.tensor([[7]])).softmax(-1)
    assert probabilities[0, 0].argmax() == 7
