import math

import pytest
import torch

from multimodal_cam.metrics.map_correlation import (
    correlation_matrix,
    rank_correlation,
    ranks,
    to_common_grid,
)


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    """Ranks 1 2 3 4 against 2 1 4 3: differences of 1, so 1 - 6 * 4 / (4 * 15) = 0.6."""
    a, b = torch.tensor([[0.1, 0.2], [0.5, 9.0]]), torch.tensor([[2.0, 1.0], [4.0, 3.0]])
    assert rank_correlation(a, b).item() == pytest.approx(0.6)


def test_ties_share_their_mean_rank():
    assert ranks(torch.tensor([5.0, 1.0, 5.0, 5.0, 0.0])).tolist() == [4, 2, 4, 4, 1]


def test_equals_scipy_with_ties():
    stats = pytest.importorskip("scipy.stats")
    a, b = maps(5, 7, 7).clamp(min=0), maps(5, 7, 7, seed=1).round(decimals=1)
    found = rank_correlation(a, b)
    expected = [stats.spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert ranks(b.flatten(1)).tolist() == stats.rankdata(b.flatten(1).numpy(), axis=1).tolist()


def test_scale_and_shift_do_not_matter_and_the_sign_turns_it_round():
    a = maps(3, 4, 5)
    assert rank_correlation(a, 1e-9 * a + 3e-9).tolist() == pytest.approx([1] * 3)
    assert rank_correlation(a, -a).tolist() == pytest.approx([-1] * 3)


def test_one_map_against_many_broadcasts():
    many, one = maps(6, 4, 4), maps(4, 4, seed=1)
    assert rank_correlation(many, one).tolist() == [rank_correlation(own, one).item() for own in many]


def test_a_map_that_ranks_nothing_has_no_correlation():
    a = torch.stack([torch.zeros(3, 3), maps(3, 3), torch.full((3, 3), math.nan)])
    found = rank_correlation(a, maps(3, 3, seed=1))
    assert found.isnan().tolist() == [True, False, True]


def test_grids_that_differ_meet_on_the_finer_one():
    """A coarse map and the same drawn finer rank alike; a human's 14 x 14 map stays as it is."""
    coarse, human = maps(2, 7, 7), maps(2, 14, 14, seed=1)
    finer, same = to_common_grid([coarse, human])
    assert finer.shape == same.shape == (2, 14, 14)
    assert torch.equal(same, human.double())
    assert torch.equal(rank_correlation(coarse, human), rank_correlation(finer, human))
    assert rank_correlation(coarse, human, size=(3, 5)).shape == (2,)
    assert rank_correlation(torch.full((2, 5, 5), 0.3), human).isnan().all()  # still the same everywhere
    (small,) = to_common_grid([torch.eye(4)], (2, 2))
    assert small[0, 0] == small[1, 1] > small[0, 1] == small[1, 0] > 0


def test_a_map_on_the_same_place_agrees_across_grids():
    spot = torch.zeros(7, 7)
    spot[1, 5] = 1
    here, there = torch.zeros(14, 14), torch.zeros(14, 14)
    here[2:4, 10:12] = 1
    there[10:12, 2:4] = 1
    assert rank_correlation(spot, here) > 0.4 > 0 > rank_correlation(spot, there)


def test_words_with_one_map_agree_and_words_of_their_own_do_not():
    one = maps(4, 4)
    alike = correlation_matrix(torch.stack([one, 2 * one, one + 1]))
    torch.testing.assert_close(alike, torch.ones_like(alike))
    three = maps(3, 6, 6)
    matrix = correlation_matrix(torch.cat([three, torch.zeros(1, 6, 6)]))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert matrix[i, j].item() == pytest.approx(rank_correlation(three[i], three[j]).item())
    assert matrix[3].isnan().all()
