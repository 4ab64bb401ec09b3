"""One contract for all Hugging Face families: tiny random models, saved as checkpoints are, loaded by the public `mc.load`."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from attributions import Attribution
from hf_models import forced_tokens, parameters
from networks import noise_image
from PIL import Image, ImageOps

import multimodal_cam as mc
from multimodal_cam.adapters.hf.composed_adapter import HuggingFace
from multimodal_cam.core import call_scope, gradients
from multimodal_cam.scores import log_prob

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own, with NumPy 2
SHAPES = [(96, 48), (48, 96), (64, 64)]  # wide, tall, square


@pytest.fixture(params=parameters())
def case(request):
    return request.param


@pytest.fixture
def model(case, loaded):
    return loaded(case)


def photos():
    return [noise_image(i, size) for i, size in enumerate(SHAPES)]


def batch(model, case, images, texts, *, method="grad_cam", **options):
    inputs = model.preprocess(images, [case.question] * len(images) if case.question else None)
    return Attribution(model, inputs, model.tokenize(texts), case.layer, method, **options)


@pytest.fixture
def default_float64():
    """What a forward pass makes of its own is float64: Kosmos-2's mask would not hold float64's lowest number otherwise."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def double(model):
    """A float64 copy."""
    twin = copy.deepcopy(model.module).double()
    twin.set_experts_implementation("eager")  # grouped products take no float64
    return mc.load(twin, processor=model.loaded.processor)


def test_it_generates_what_the_model_generates_and_scores_just_that(model, case):
    image = noise_image(3, SHAPES[0])
    if case.chooses:
        answers = model.module(**case.ask(model.loaded.processor, image, case.question)).logits[0].detach()
        e = mc.explain(model, image, question=case.question)
        assert e.text == model.module.config.id2label[int(answers.argmax())]
        torch.testing.assert_close(e.token_scores[0], answers.max(), rtol=1e-4, atol=1e-4)
        assert (e.layer, e.token_maps.shape[1:]) == (case.layer, case.grid)
        return
    e = mc.explain(model, image, question=case.question, max_new_tokens=6)
    if case.ask is not None:
        asked = case.ask(model.loaded.processor, image, case.question)
    else:
        asked = {"pixel_values": model.loaded.image_processor([image], return_tensors="pt").pixel_values}
    forced = forced_tokens(model)
    length = {"max_new_tokens": 6 + forced, "min_new_tokens": 1 + forced}
    said = model.module.generate(**asked, **length, output_logits=True, return_dict_in_generate=True, do_sample=False)
    part = slice(forced, forced + len(e.tokens))
    ids = said.sequences[0, -len(said.logits) :][part]
    assert model.tokens(ids.tolist()) == list(e.tokens)
    own = torch.stack(said.logits, dim=1)[:, part]
    torch.testing.assert_close(e.token_log_probs, log_prob(own.float(), ids[None])[0], rtol=1e-3, atol=1e-4)
    assert (own.argmax(dim=-1)[0] == ids).float().mean() >= 1 - 1 / len(ids)  # all but a first end token, which must not be
    assert e.layer == case.layer
    assert e.token_maps.shape[1:] == case.grid


def test_words_are_words(model, case):
    e = mc.explain(model, noise_image(0, SHAPES[2]), text=case.text, question=case.question)
    if case.chooses:
        assert [word.text for word in e.words] == [case.text]
        return
    assert [word.text for word in e.words] == case.text.removesuffix(".").split() + ["."] * case.text.endswith(".")
    assert [i for word in e.words for i in range(word.start, word.stop)] == list(range(len(e.tokens)))
    special = set(model.loaded.tokenizer.all_special_tokens)
    said = mc.explain(model, noise_image(0, SHAPES[2]), question=case.question)
    assert not special & {word.text for word in said.words}
    assert all(word.text.strip() for word in said.words)
    with pytest.raises(mc.WordError):
        e["elephant"]


def test_the_head_alone_is_the_whole_model(model, case):
    work = batch(model, case, photos()[:1], [case.text])
    with torch.no_grad():
        whole = model.logits(work.inputs, work.ids)
        alone = model.logits(work.inputs, work.ids, model.layer_activations(work.inputs))
        twice = model.logits(work.inputs, work.ids.repeat(2, 1), model.layer_activations(work.inputs).repeat(2, 1, 1))
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twice, whole.repeat(2, 1, 1), rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_differences(model, case, default_float64):
    model = double(model)
    step, tolerance = (1e-5, 1e-5) if case.double else (1e-2, 2e-2)
    work = batch(model, case, photos()[:1], [case.text], method=lambda a, g: g[:, 0])
    with call_scope.evaluation_mode(model.module):
        found = work.explain()
        with torch.no_grad():
            raw = model.layer_activations(work.inputs)
    step = step * raw.std().item()
    t, (h, w) = work.ids.shape[1], case.grid
    largest = found.gradients.abs().max().item()
    assert largest > 1e-5
    slopes = found.gradients[0, :, 0].flatten(2)  # cells in a row; a photo that is seen twice has more than its map
    prefix = raw.shape[1] - slopes.shape[-1]
    for word, c, y, x in [(0, 0, 0, 0), (min(1, t - 1), 3, h - 1, 0), (t - 1, 5, 0, w - 1), (t // 2, 2, h // 2, w // 3)]:
        sides = []
        for sign in (1, -1):
            moved = raw.clone()
            moved[0, prefix + y * w + x, c] += sign * step
            with torch.no_grad(), call_scope.evaluation_mode(model.module):
                sides.append(log_prob(model.logits(work.inputs, work.ids, moved).double(), work.ids)[0, word])
        slope = ((sides[0] - sides[1]) / (2 * step)).item()
        assert slopes[word, c, y * w + x].item() == pytest.approx(slope, rel=tolerance, abs=tolerance * largest)


def test_batched_products_equal_the_loop(model, case, monkeypatch):
    work = batch(model, case, photos()[:1], [case.text])
    together = work.explain()
    original = gradients._products

    def refuse(outputs, leaf, cotangents, batched):
        if batched:
            raise RuntimeError("vmap: no batching rule")
        return original(outputs, leaf, cotangents, batched)

    monkeypatch.setattr(gradients, "_products", refuse)
    looped = batch(model, case, photos()[:1], [case.text]).explain()
    assert together.notes["products"] == "batched"
    torch.testing.assert_close(together.maps, looped.maps, rtol=1e-4, atol=1e-6)


def test_a_batch_of_photos_of_all_shapes_equals_each_alone(model, case):
    images = [*photos(), noise_image(5, SHAPES[0])]  # the first and the last run together
    texts = [case.text, "a dog", "two dogs play with a red ball", "a red dog"]
    texts = ["red", "two", "brown", "two"] if case.chooses else texts
    together = mc.explain(model, images, text=texts, question=case.question, method="evidence", n_steps=2)
    for image, text, one in zip(images, texts, together, strict=True):
        alone = mc.explain(model, image, text=text, question=case.question, method="evidence", n_steps=2)
        torch.testing.assert_close(one.maps, alone.maps, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one.reliance, alone.reliance, rtol=1e-3, atol=1e-4)
    spoken = mc.explain(model, photos(), question=case.question)
    alone = mc.explain(model, photos()[1], question=case.question)
    assert spoken[1].tokens == alone.tokens
    torch.testing.assert_close(spoken[1].token_maps, alone.token_maps, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", SHAPES, ids=["wide", "tall", "square"])
def test_a_cell_lies_on_the_photo_where_the_placement_says(model, case, size):
    """A cell's part of the photo, by the placement, is the one that it sees: no other part changes it as much."""
    base = noise_image(7, (6, 6)).resize(size)
    asked = [case.question] if case.question else None
    inputs = model.preprocess([base], asked)
    view = model.layer_view(inputs, model.layer)

    def cells(photo):
        with torch.no_grad(), call_scope.evaluation_mode(model.module):
            return view.cells(model.layer_activations(model.preprocess([photo], asked)))[0]

    x0, y0, x1, y1 = inputs.placements[0].frame
    before, changes = cells(base), {}
    h, w = view.to_image(before).shape[1:] if case.local else (2, 2)
    rows = [i for i in range(h) if 0 <= y0 + (y1 - y0) * (i + 0.5) / h <= 1]  # of cells on the photo: others are on margins
    columns = [j for j in range(w) if 0 <= x0 + (x1 - x0) * (j + 0.5) / w <= 1]
    (i0, i1, i2), (j0, j1, j2) = ((on[0], on[len(on) // 2], on[-1]) for on in (rows, columns))
    for i, j in {(i0, j0), (i0, j2), (i2, j0), (i2, j2), (i1, j1), (i0, j1), (i2, j1 - 1)}:
        left, right = (x0 + (x1 - x0) * (j + d) / w for d in (0.1, 0.9))
        top, bottom = (y0 + (y1 - y0) * (i + d) / h for d in (0.1, 0.9))
        box = [round(v) for v in (left * size[0], top * size[1], right * size[0], bottom * size[1])]
        box = [max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])]
        if (box[2] - box[0]) < 0.5 * (right - left) * size[0] or (box[3] - box[1]) < 0.5 * (bottom - top) * size[1]:
            continue  # most of the cell lies on a margin
        other = base.copy()
        other.paste(ImageOps.invert(base.crop(box)), (box[0], box[1]))
        change = view.to_image((cells(other) - before).square().sum(dim=0)[None])
        changes[i, j] = torch.nn.functional.adaptive_avg_pool2d(change, (h, w))[0]
    assert len(changes) > 1
    for i, j in changes:
        assert max(changes, key=lambda part: changes[part][i, j].item()) == (i, j), changes


@pytest.mark.parametrize("size", SHAPES, ids=["wide", "tall", "square"])
def test_the_placement_is_where_the_processor_puts_a_square(model, case, size):
    photo = Image.new("RGB", size)
    left, top, side = size[0] // 2 - 8, size[1] // 2 - 4, 12
    photo.paste((255, 255, 255), (left, top, left + side, top + side))
    inputs = model.preprocess([photo], [case.question] if case.question else None)
    light = model.images.unnormalized_image(photo).mean(dim=0)
    light = (light - light.min()) / (light.max() - light.min())
    x0, y0, x1, y1 = inputs.placements[0].frame
    across = x0 + (x1 - x0) * (torch.arange(light.shape[1]) + 0.5) / light.shape[1]
    down = y0 + (y1 - y0) * (torch.arange(light.shape[0]) + 0.5) / light.shape[0]
    centre = ((light.sum(0) * across).sum() / light.sum(), (light.sum(1) * down).sum() / light.sum())
    assert centre[0] * size[0] == pytest.approx(left + side / 2, abs=1.0)
    assert centre[1] * size[1] == pytest.approx(top + side / 2, abs=1.0)


def test_evidence_adds_up(model, case):
    e = mc.explain(
        model, photos()[0], text=case.text, question=case.question, method="evidence", score="log_prob", n_steps=case.n_steps
    )
    allowed = torch.maximum(0.01 * e.reliance.abs(), torch.tensor(0.02))
    assert (e.completeness.abs() <= allowed).all()
    torch.testing.assert_close(e.maps.sum(dim=(1, 2)) + e.unplaced - e.completeness, e.reliance, rtol=1e-3, atol=1e-3)
    assert e.reliance.abs().max() > 0.02
    assert bool(e.unplaced.any()) == case.unplaced


def test_nothing_is_touched(model, case):
    module = model.module
    mc.explain(model, photos()[0], text=case.text, question=case.question)  # transformers hooks itself on its first call
    module.train()
    first = next(module.parameters())
    first.requires_grad_(False)
    state = torch.random.get_rng_state()

    def facts():
        hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in m.__dict__) for m in module.modules()]
        flags = [(p.requires_grad, p.grad is None, p._version) for p in module.parameters()]
        generation = getattr(module, "generation_config", None)
        return hooks, flags, [m.training for m in module.modules()], None if generation is None else generation.to_dict()

    before = facts()
    mc.explain(model, photos()[0], question=case.question)
    bad = {"text": "elephants"} if case.chooses else {"text": case.text, "score": lambda logits, ids: logits.sum(-1).cumsum(1)}
    with pytest.raises(ValueError, match="its own position only|none of the 4 answers"):
        mc.explain(model, photos()[0], question=case.question, **bad)
    assert facts() == before
    assert torch.equal(torch.random.get_rng_state(), state)
    module.eval()
    first.requires_grad_(True)


@pytest.mark.parametrize(
    ("kind", "gap", "likeness"), [("bfloat16", 0.15, 0.99), pytest.param("half", 0.05, 0.999, marks=pytest.mark.slow)]
)
def test_half_precision_stays_close(model, case, kind, gap, likeness):
    """Log-probabilities within `gap` nats, maps as alike as `likeness` says, and float32 whatever the weights are."""
    full = mc.explain(model, photos()[2], text=case.text, question=case.question)
    half = mc.load(getattr(copy.deepcopy(model.module), kind)(), processor=model.loaded.processor)
    e = mc.explain(half, photos()[2], text=case.text, question=case.question)
    assert e.token_maps.dtype == torch.float32
    torch.testing.assert_close(e.token_log_probs, full.token_log_probs, rtol=0, atol=gap)
    correlation = torch.corrcoef(torch.stack([e.token_maps.flatten(), full.token_maps.flatten()]))[0, 1]
    assert correlation > likeness


def test_the_tower_runs_once_a_photo(model, case):
    if case.chooses:
        pytest.skip("question and photo run through one transformer")
    image, seen, spec = photos()[0], [], model.spec

    def run_tower(loaded, inputs):
        seen.append(len(inputs.pixels))
        spec.run_tower(loaded, inputs)

    counted = HuggingFace(model.module, model.loaded.processor, model.name, replace(spec, run_tower=run_tower))
    mc.explain(counted, image, text="a dog", question=case.question)  # the baseline is known from here on
    seen.clear()
    mc.explain(counted, [image, image], text=["a dog", "a red dog"], question=case.question, method="evidence", n_steps=2)
    assert seen == [1] * spec.capabilities.tower_shared_by_questions  # a tower that reads the question runs for each row
