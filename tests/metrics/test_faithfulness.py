"""metrics/faithfulness.py on models whose score is known, and against other libraries; no forward is wasted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from multimodal_cam.metrics.canvas_scores import all_words
from multimodal_cam.metrics.faithfulness import (
    PerturbationCurve,
    average_drop,
    blurred,
    deletion,
    insertion,
    mean_colour,
    occlusion_correlation,
    occlusion_maps,
    road,
    sensitivity_n,
)
from multimodal_cam.metrics.imputation import impute

CANVAS = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
ZERO = torch.zeros(1, 1, 1)


class Linear:
    """Scores that are weighted sums of the canvas, one weight map `(t, H, W)` a word; counts what it is asked."""

    def __init__(self, weights: Tensor) -> None:
        self.weights, self.canvases, self.asked = weights, 0, 0

    def __call__(self, canvases: Tensor, rows: Tensor, words: Tensor) -> Tensor:
        self.canvases, self.asked = self.canvases + len(canvases), self.asked + len(rows)
        return (canvases.sum(dim=1)[rows] * self.weights[words]).sum(dim=(1, 2))


def network(words: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, words)
    return nn.Sequential(*layers).eval().requires_grad_(False)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- each word in the order of its own map ---------------------------------------------------------------------------------


def test_deletion_removes_what_the_map_marks_first() -> None:
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]]])
    curve = deletion(Linear(torch.ones(2, 2, 2)), CANVAS, maps, ZERO, steps=4)
    assert curve.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.scores.tolist() == [[10, 6, 3, 1, 0], [10, 9, 7, 4, 0]]
    assert curve.auc.tolist() == [(6 + 3 + 1 + 5) / 4, (9 + 7 + 4 + 5) / 4]


def test_insertion_puts_it_in_first() -> None:
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    curve = insertion(Linear(torch.ones(1, 2, 2)), CANVAS, maps, torch.full((1, 1, 1), 1.0), steps=4)
    assert curve.scores.tolist() == [[4, 7, 9, 10, 10]]
    assert curve.mean.tolist() == [8]


def test_signed_values_are_ranked_and_equal_ones_go_in_reading_order() -> None:
    maps = torch.tensor([[[-1.0, -2.0], [-1.0, 5.0]]])
    assert deletion(Linear(torch.ones(1, 2, 2)), CANVAS, maps, ZERO).scores.tolist() == [[10, 6, 5, 2, 0]]


def test_coarse_maps_are_drawn_on_the_canvas() -> None:
    canvas, map = noise(3, 8, 8), noise(1, 4, 4)
    fine = nn.functional.interpolate(map[None], (8, 8), mode="bilinear")[0]
    score = all_words(network(1))
    curves = [deletion(score, canvas, own, mean_colour(canvas)) for own in (map, fine)]
    assert torch.equal(curves[0].scores, curves[1].scores)


@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_all_words_at_once_are_each_word_alone(batch: int) -> None:
    canvas, maps, model = noise(3, 8, 8), noise(3, 8, 8), network()
    for metric in (deletion, insertion):
        together = metric(all_words(model), canvas, maps, mean_colour(canvas), steps=7, batch=batch)
        for i in range(3):
            alone = metric(
                all_words(lambda x, i=i: model(x)[:, i : i + 1]), canvas, maps[i : i + 1], mean_colour(canvas), steps=7
            )
            assert torch.allclose(together.scores[i : i + 1], alone.scores, atol=1e-6)


def test_no_forward_is_wasted() -> None:
    maps = torch.stack([noise(4, 4), noise(4, 4, seed=2), noise(4, 4)])  # two words share a map
    score = Linear(torch.ones(3, 4, 4))
    deletion(score, noise(1, 4, 4), maps, ZERO, steps=8)
    assert score.canvases == 2 * 7 + 2  # the ends are common to all
    assert score.asked == 3 * 9


def test_deletion_and_insertion_are_those_of_torchcam() -> None:
    torchcam = pytest.importorskip("torchcam")
    metrics = pytest.importorskip("torchcam.metrics")
    model = network().requires_grad_(True)
    image = noise(3, 20, 20)
    with torchcam.methods.LayerCAM(model, target_layer=model[1]) as cam:
        maps = torch.cat([cam(i, model(image[None]).softmax(dim=-1))[0] for i in range(3)])  # explains what it measures
        for i in range(3):
            oracle = metrics.DeletionInsertionMetric(cam, lambda logits: logits.softmax(dim=-1), steps=10)
            oracle.update(image[None], i)
            score = all_words(lambda x: model(x).softmax(dim=-1)[:, i : i + 1])
            for metric, name in ((deletion, "deletion_auc"), (insertion, "insertion_auc")):
                found = metric(score, image, maps[i : i + 1], ZERO, steps=10).auc.item()
                assert found == pytest.approx(oracle.summary()[name], abs=1e-6)


def test_average_drop_is_of_the_probability() -> None:
    maps = torch.tensor([[[0.0, 1.0], [-1.0, 2.0]], [[0.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]])
    weights = torch.tensor([[[0.1, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.1]], [[0.0, 0.0], [-1.0, 0.1]]])
    drop, increase = average_drop(Linear(weights), CANVAS, maps, ZERO)
    assert drop.tolist() == pytest.approx(
        [1 - math.exp(-0.1), 1 - math.exp(-0.4), 0]
    )  # shown: half of 2 and all of 4; nothing; 4
    assert increase.tolist() == [False, False, True]


def test_average_drop_is_torchcams() -> None:
    torchcam = pytest.importorskip("torchcam")
    metrics = pytest.importorskip("torchcam.metrics")
    model = network().requires_grad_(True)
    image = noise(3, 20, 20)
    with torchcam.methods.LayerCAM(model, target_layer=model[1]) as cam:
        maps = torch.cat([cam(i, model(image[None]).softmax(dim=-1))[0] for i in range(3)])  # explains what it measures
        drop, increase = average_drop(all_words(lambda x: model(x).log_softmax(dim=-1)), image, maps, ZERO)
        for i in range(3):
            oracle = metrics.ClassificationMetric(cam, lambda logits: logits.softmax(dim=-1))
            oracle.update(image[None], i)
            assert drop[i].item() == pytest.approx(oracle.summary()["avg_drop"], abs=1e-5)
            assert increase[i].item() == oracle.summary()["conf_increase"]
    assert drop.any()
    assert increase.any()


# ---- ROAD ------------------------------------------------------------------------------------------------------------------


def test_a_missing_place_is_the_weighted_mean_of_its_neighbours() -> None:
    canvas = torch.arange(9.0).view(1, 3, 3) ** 2
    middle = torch.zeros(3, 3, dtype=torch.bool)
    middle[1, 1] = True
    beside, across = (1 + 9 + 25 + 49) / 6, (0 + 4 + 36 + 64) / 12
    assert impute(canvas, middle)[0, 1, 1].item() == pytest.approx(beside + across)
    corner = torch.zeros(3, 3, dtype=torch.bool)
    corner[0, :2] = True  # two unknowns, each with the neighbours that exist
    filled = impute(canvas, corner)[0]
    a, b = filled[0, 0].item(), filled[0, 1].item()
    assert a == pytest.approx((b / 6 + 9 / 6 + 16 / 12) / (5 / 12), rel=1e-5)
    assert b == pytest.approx((a / 6 + 4 / 6 + 9 / 12 + 16 / 6 + 25 / 12) / (8 / 12), rel=1e-5)
    assert torch.equal(filled[1:], canvas[0, 1:])
    with pytest.raises(ValueError, match="nothing is left"):
        impute(canvas, torch.ones(3, 3, dtype=torch.bool))


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
def test_imputation_is_that_of_grad_cam() -> None:
    peers = pytest.importorskip("pytorch_grad_cam.metrics.road")
    canvas, keep = noise(3, 12, 9), noise(12, 9, seed=3) > 0.3
    expected = peers.NoisyLinearImputer(noise=0)(canvas, keep.float())
    assert torch.allclose(impute(canvas, ~keep), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
def test_road_is_that_of_grad_cam(monkeypatch) -> None:
    peers = pytest.importorskip("pytorch_grad_cam.metrics.road")
    monkeypatch.setattr(peers.NoisyLinearImputer.__init__, "__defaults__", (0.0, peers.neighbors_weights))
    model, image = network(), noise(3, 10, 10)
    maps = torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(4))
    found = road(all_words(model), image, maps, noise=0)
    assert found.morf.fractions.tolist() == pytest.approx([i / 10 for i in range(1, 10)])
    before = model(image[None])[0]
    for i in range(3):
        args = image[None], maps[i : i + 1].numpy(), [lambda output, i=i: output[i]], model
        assert (found.morf.mean - before)[i].item() == pytest.approx(peers.ROADMostRelevantFirstAverage()(*args)[0], abs=1e-5)
        assert (found.lerf.mean - before)[i].item() == pytest.approx(peers.ROADLeastRelevantFirstAverage()(*args)[0], abs=1e-5)
        assert found.combined[i].item() == pytest.approx(peers.ROADCombined()(*args)[0], abs=1e-5)


def test_roads_noise_is_the_same_every_time_and_only_on_what_is_missing() -> None:
    seen: list[Tensor] = []
    canvas, maps = noise(2, 4, 4), noise(1, 4, 4)

    def score(canvases: Tensor, rows: Tensor, words: Tensor) -> Tensor:
        seen.append(canvases)
        return canvases[rows].sum(dim=(1, 2, 3))

    curves = [road(score, canvas, maps, fractions=(0.25,), noise=n, batch=b).morf for n, b in ((0.1, 9), (0.1, 1), (0.0, 9))]
    assert torch.equal(curves[0].scores, curves[1].scores)
    noisy, plain = seen[0], seen[-1]
    assert ((noisy != plain).any(dim=1).sum(dim=(1, 2)) == 4).all()
    assert road(score, canvas, maps, fractions=(1.0,)).morf.fractions.tolist() == [15 / 16]  # something must be left


# ---- all words from the same perturbations ---------------------------------------------------------------------------------


def test_occlusion_maps_are_the_drops() -> None:
    score = Linear(torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, -1.0]]]))
    found = occlusion_maps(score, CANVAS, 2, ZERO, patch=(1, 1), batch=3)
    assert found.tolist() == [[[1, 2], [3, 4]], [[0, 0], [0, -4]]]
    assert (score.canvases, score.asked) == (5, 10)
    assert occlusion_maps(score, CANVAS, 2, ZERO, patch=(1, 2)).tolist() == [[[3], [7]], [[0], [-4]]]


def test_the_last_patches_are_cut_off_at_the_edges() -> None:
    found = occlusion_maps(Linear(torch.ones(1, 5, 7)), torch.ones(1, 5, 7), 1, ZERO, patch=(2, 3))
    assert found.tolist() == [[[6, 6, 2], [6, 6, 2], [3, 3, 1]]]


def test_occlusion_is_captums() -> None:
    attr = pytest.importorskip("captum.attr")
    model, image = network(), noise(3, 12, 12)
    found = occlusion_maps(all_words(model), image, 3, ZERO, patch=(4, 4))
    for i in range(3):
        expected = attr.Occlusion(model).attribute(image[None], (3, 4, 4), (3, 4, 4), baselines=0, target=i)
        assert torch.allclose(found[i].float(), expected[0, 0, ::4, ::4], atol=1e-5)


def test_occlusion_correlation_ranks_the_positive_part() -> None:
    stats = pytest.importorskip("scipy.stats")
    maps, occluded = noise(2, 3, 3), noise(2, 3, 3, seed=5)
    expected = [stats.spearmanr(a.relu().flatten(), b.flatten()).statistic for a, b in zip(maps, occluded, strict=True)]
    assert occlusion_correlation(maps, occluded).tolist() == pytest.approx(expected)
    assert occlusion_correlation(
        torch.arange(4.0).view(1, 2, 2), torch.tensor([[[-5.0, 0.0], [1.0, 9.0]]])
    ).item() == pytest.approx(1)
    assert occlusion_correlation(-torch.ones(1, 2, 2), occluded[:1, :2, :2]).isnan()
    assert occlusion_correlation(noise(2, 14, 14), occluded).shape == (2,)


def test_sensitivity_is_one_for_an_exact_additive_map() -> None:
    weights = noise(3, 4, 4)
    canvas = noise(1, 4, 4, seed=6)
    score = Linear(weights)
    maps = weights * canvas
    maps[2] = -maps[2]
    found = sensitivity_n(score, canvas, maps, ZERO, fractions=(0.1, 0.5, 1.0), subsets=20)
    assert found.fractions.tolist() == [2 / 16, 8 / 16, 15 / 16]
    assert found.scores[:2].flatten().tolist() == pytest.approx([1] * 6, abs=1e-5)
    assert found.scores[2].tolist() == pytest.approx([-1] * 3, abs=1e-5)
    assert score.canvases <= 1 + 60
    assert score.asked == 3 * score.canvases


def test_sensitivity_correlates_sums_with_drops() -> None:
    model, canvas, maps = network(), noise(3, 6, 6), noise(3, 3, 3)
    found = sensitivity_n(all_words(model), canvas, maps, ZERO, fractions=(0.34,), subsets=5, seed=7)
    dice = torch.rand(1, 5, 9, generator=torch.Generator().manual_seed(7)).argsort(dim=-1)
    for t in range(3):
        sums, drops = [], []
        for order in dice[0]:
            cells = (order < 3).view(3, 3)
            keep = ~cells.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
            sums.append(maps[t][cells].sum())
            drops.append((model(canvas[None]) - model((canvas * keep)[None]))[0, t])
        expected = torch.corrcoef(torch.tensor([sums, drops], dtype=torch.float64))[0, 1].item()
        assert found.scores[t, 0].item() == pytest.approx(expected, abs=1e-4)


def test_a_map_without_differences_has_no_sensitivity() -> None:
    assert sensitivity_n(Linear(torch.ones(1, 2, 2)), CANVAS, torch.zeros(1, 2, 2), ZERO).scores.isnan().all()


# ---- a planted model, fills, misuse ----------------------------------------------------------------------------------------


def test_the_map_of_what_the_model_looks_at_wins_everywhere() -> None:
    canvas, corner = noise(3, 8, 8).abs() + 1, torch.zeros(2, 8, 8)
    corner[:, :4, :4] = 0.02
    right = torch.zeros(2, 4, 4)
    right[0, :2, :2] = 1  # word 0 has the right map, word 1 that of the opposite corner
    right[1, 2:, 2:] = 1
    score = Linear(corner)
    removed, put = (metric(score, canvas, right, ZERO).auc for metric in (deletion, insertion))
    assert removed[0] < removed[1]
    assert put[0] > put[1]
    assert average_drop(score, canvas, right, ZERO)[0].diff() > 0
    assert occlusion_correlation(right, occlusion_maps(score, canvas, 2, ZERO, patch=(4, 4))).diff() < 0
    assert sensitivity_n(score, canvas, right, ZERO, fractions=(0.3,)).scores[:, 0].diff() < 0


def test_fills() -> None:
    canvas = noise(3, 15, 20)
    assert torch.allclose(mean_colour(canvas)[:, 0, 0], canvas.mean(dim=(1, 2)))
    flat = torch.full((3, 15, 20), 0.3)
    assert torch.allclose(blurred(flat), flat)
    assert blurred(canvas).std() < 0.3 * canvas.std()
    dot = torch.zeros(1, 21, 21)
    dot[0, 10, 10] = 1
    ratio = blurred(dot)[0, 10, 11] / blurred(dot)[0, 10, 10]
    assert ratio.item() == pytest.approx(math.exp(-1 / 50))


def test_a_curve_knows_its_area() -> None:
    curve = PerturbationCurve(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 0.0, 0.0], [2.0, 2.0, 2.0]]))
    assert curve.auc.tolist() == [0.25, 2.0]


def test_misuse_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="all_words"):
        deletion(lambda canvases, rows, words: canvases.sum(dim=(2, 3)), CANVAS, torch.ones(1, 2, 2), ZERO)
    with pytest.raises(ValueError, match="NaN"):
        deletion(Linear(torch.ones(1, 2, 2)), CANVAS, torch.full((1, 2, 2), torch.nan), ZERO)
