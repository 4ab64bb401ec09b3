"""Faithfulness in the study: does the model depend on what a map marks? Opt-in metrics, on a word's log-probability under the
fixed prefix, in nats.

What is perturbed is the photo's pixels or the layer's activations (`canvas`: the backbone then does not run). Removed places take
the photo's mean colour, insertion begins with the blurred photo (RISE's choices); at the layer both take the activations of no
photo. All maps of all words of a text are measured together: perturbations that they share are run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...adapters.contract import TaskAdapter, log_prob_of
from ...core.spans import Span
from ...metrics import faithfulness as measure
from ...metrics.canvas_scores import Score, all_words
from ...metrics.localization import others
from .controls import CONTROLS, blind_maps
from .metric_spec import MetricSpec
from .text_batch import TextBatch

STEPS = 10  # steps of the deletion and insertion curves
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)  # fractions removed by ROAD
PATCHES = 7  # occluded patches along each side: 32 x 32 pixels of 224 x 224
SUBSETS = 50  # random subsets of each size for sensitivity-n
AT_ONCE = 64  # canvases in a batch


class MapKey(NamedTuple):
    """Key of a map: target, kind of span, run (None: of no method), control (None: the method's own map)."""

    target: int
    kind: str
    run: int | None
    control: str | None


SpanMaps = Mapping[tuple[int, str], Mapping[str | None, Tensor]]  # of one run, by target and kind of span


@dataclass(frozen=True)
class Probe:
    """Input of a metric: `k` maps of words of one text, and `score`, which gives the log-probabilities of these words."""

    score: Score
    canvas: Tensor  # (c, H, W)
    removed: Tensor  # values that replace removed places
    begin: Tensor  # canvas that insertion starts from
    maps: Tensor  # (k, h, w)

    def deletion(self) -> tuple[Tensor, ...]:
        return (measure.deletion(self.score, self.canvas, self.maps, self.removed, steps=STEPS, batch=AT_ONCE).auc,)

    def insertion(self) -> tuple[Tensor, ...]:
        return (measure.insertion(self.score, self.canvas, self.maps, self.begin, steps=STEPS, batch=AT_ONCE).auc,)

    def drop(self) -> tuple[Tensor, ...]:
        return measure.average_drop(self.score, self.canvas, self.maps, self.removed, batch=AT_ONCE)

    def road(self) -> tuple[Tensor, ...]:
        found = measure.road(self.score, self.canvas, self.maps, fractions=FRACTIONS, batch=AT_ONCE)
        return found.morf.mean, found.lerf.mean

    def occlusion(self) -> tuple[Tensor, ...]:
        patch = tuple(-(-side // PATCHES) for side in self.canvas.shape[1:])
        k = len(self.maps)
        costs = measure.occlusion_maps(self.score, self.canvas, k, self.removed, patch=(patch[0], patch[1]), batch=AT_ONCE)
        return (measure.occlusion_correlation(self.maps.to(costs), costs),)

    def sensitivity(self) -> tuple[Tensor, ...]:
        found = measure.sensitivity_n(self.score, self.canvas, self.maps, self.removed, subsets=SUBSETS, batch=AT_ONCE)
        return (found.scores.nanmean(dim=-1),)


FAITHFULNESS: Mapping[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "deletion",
            Probe.deletion,
            "nats",
            "mean log-probability while what the map marks most is removed first (RISE 2018): low is faithful",
            "RISE, Petsiuk et al., BMVC 2018",
            better="low",
            perturbs=True,
        ),
        MetricSpec(
            "insertion",
            Probe.insertion,
            "nats",
            "mean log-probability while what the map marks most is put in first (RISE 2018): high is faithful",
            "RISE, Petsiuk et al., BMVC 2018",
            perturbs=True,
        ),
        MetricSpec(
            "average_drop",
            Probe.drop,
            "0 to 1",
            "share of the probability lost when only what the map marks is seen (Grad-CAM++ 2018): low is faithful",
            "Grad-CAM++, Chattopadhay et al., WACV 2018",
            better="low",
            perturbs=True,
        ),
        MetricSpec(
            "increase",
            Probe.drop,
            "0 or 1",
            "how often the probability rises then (Grad-CAM++ 2018): high is faithful",
            "Grad-CAM++, Chattopadhay et al., WACV 2018",
            perturbs=True,
            output=1,
        ),
        MetricSpec(
            "road_morf",
            Probe.road,
            "nats",
            "mean log-probability with what the map marks most imputed from the rest (ROAD 2022): low is faithful",
            "ROAD, Rong et al., ICML 2022",
            better="low",
            perturbs=True,
        ),
        MetricSpec(
            "road_lerf",
            Probe.road,
            "nats",
            "the same with what it marks least (ROAD 2022): high is faithful",
            "ROAD, Rong et al., ICML 2022",
            perturbs=True,
            output=1,
        ),
        MetricSpec(
            "occlusion",
            Probe.occlusion,
            "-1 to 1",
            "rank correlation with what occluding each of 7 x 7 patches costs (Grad-CAM 2017): high is faithful",
            "Grad-CAM, Selvaraju et al., ICCV 2017, section 5.3",
            perturbs=True,
        ),
        MetricSpec(
            "sensitivity_n",
            Probe.sensitivity,
            "-1 to 1",
            "correlation of a map's sum over random cells with what removing them costs (2018): high is faithful",
            "Sensitivity-n, Ancona et al., ICLR 2018",
            perturbs=True,
        ),
    )
}


def measure_faithfulness(
    model: TaskAdapter, batch: TextBatch, runs: Sequence[SpanMaps], metrics: Sequence[str], controls: Sequence[str], canvas: str
) -> dict[MapKey, dict[str, float]]:
    """All chosen metrics of all targets' maps, and of those `controls` that are perturbed."""
    chosen = [name for name in metrics if name in FAITHFULNESS]
    entries: dict[tuple[int, torch.Size], list[tuple[MapKey, Tensor, Span]]] = {}
    for key, map, span in _entries(batch, runs, controls) if chosen else ():
        if not map.isnan().any():
            entries.setdefault((batch.targets[key.target][0], map.shape), []).append((key, map, span))
    found: dict[MapKey, dict[str, float]] = {}
    for (row, _), own in entries.items():
        probe = _probe(model, batch, row, [span for *_, span in own], torch.stack([map for _, map, _ in own]), canvas)
        numbers = dict(_numbers(probe, chosen))
        for i, (key, *_) in enumerate(own):
            found[key] = {name: values[i] for name, values in numbers.items()}
    return found


def _numbers(probe: Probe, chosen: Sequence[str]) -> Iterator[tuple[str, list[float]]]:
    specs = [FAITHFULNESS[name] for name in chosen]
    outputs = {function: function(probe) for function in dict.fromkeys(spec.function for spec in specs)}
    for spec in specs:
        yield spec.name, outputs[spec.function][spec.output].double().tolist()


def _entries(batch: TextBatch, runs: Sequence[SpanMaps], controls: Sequence[str]) -> Iterator[tuple[MapKey, Tensor, Span]]:
    """Maps to measure, each with the word whose score is perturbed; `other_word` is the next other word."""
    perturbed = {name for name in controls if CONTROLS[name].perturbed}
    for scope in batch.scopes():
        other_words = others([batch.targets[i][1].group for i in scope])
        for place, i in enumerate(scope):
            for kind, span in batch.spans(i).items():
                grids = {run[i, kind][None].shape for run in runs}
                for grid in grids:
                    blind = blind_maps((grid[0], grid[1]), batch.placement(batch.targets[i][0]))
                    blind["random"] = torch.rand(grid, generator=torch.Generator().manual_seed(i))
                    yield from ((MapKey(i, kind, None, name), blind[name], span) for name in blind if name in perturbed)
                for r, run in enumerate(runs):
                    yield MapKey(i, kind, r, None), run[i, kind][None], span
                    if "other_word" in controls and other_words[place]:
                        later = [j for j in other_words[place] if j > place]
                        yield MapKey(i, kind, r, "other_word"), run[scope[(later or other_words[place])[0]], kind][None], span


def _probe(model: TaskAdapter, batch: TextBatch, row: int, spans: Sequence[Span], maps: Tensor, canvas: str) -> Probe:
    rows = batch.rows
    one, ids = rows.inputs_of([row]), rows.ids[row][rows.ids[row] >= 0][None]
    at_layer = canvas == "layer"
    if at_layer:
        image = rows.activations[int(rows.photo[row])]
        if image.ndim != 3:
            raise ValueError(f"{model.name}: its layer holds tokens {tuple(image.shape)}, no (c, h, w): use canvas='pixels'")
        removed = begin = model.baseline_activations(one).to(image)[0]
    else:
        one = one.expand_images()
        image = one.pixels[0]
        removed, begin = measure.mean_colour(image), measure.blurred(image)

    def scores(canvases: Tensor) -> Tensor:
        many = ids.repeat(len(canvases), 1)
        if at_layer:
            logits = model.logits(one, many, canvases)
        else:
            logits = model.logits(replace(one.repeat(len(canvases)), pixels=canvases), many)
        tokens = log_prob_of(model)(logits.float(), many)
        return torch.stack([tokens[:, span.start : span.stop].sum(dim=1) for span in spans], dim=1)

    return Probe(all_words(scores), image, removed, begin, maps)
