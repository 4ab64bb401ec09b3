"""The engine against slow, independent oracles: captum, finite differences, loops, one image at a time."""

import gc

import pytest
import torch
from attributions import Attribution
from captum.attr import LayerGradCam, LayerIntegratedGradients
from networks import WORDS, FusedDecoder, noise_image, planted_captioner, quadrant_image, small_captioner
from PIL import Image
from torch import nn

import multimodal_cam as mc
from multimodal_cam.core import call_scope, gradients
from multimodal_cam.scores import log_prob

TEXT = "a red dog runs"
METHODS = [name for name, spec in mc.METHODS.items() if spec.kind not in ("activations", "attention", "perturbation")]
LAYER_METHODS = [name for name, spec in mc.METHODS.items() if spec.kind in ("gradient", "path")]


def batch(model, images, texts, *, method="grad_cam", score="log_prob", n_steps=16, dtype=torch.float32):
    model.module.to(dtype)
    inputs, ids = model.preprocess(images), model.tokenize(texts)
    return Attribution(model, inputs, ids, "encoder", method, score, n_steps=n_steps)


def word_scores(model, score=log_prob):
    """Pixels and ids -> one number a word, as captum wants it."""
    return lambda pixels, ids: score(model.decoder(model.encoder(pixels), ids), ids)


@pytest.mark.parametrize("cuts", [True, False])
@pytest.mark.parametrize("pool", [True, False])
def test_grad_cam_is_captums(pool, cuts):
    from networks import Decoder

    model = small_captioner(decoder=Decoder(pool), cuts=cuts)
    image = noise_image()
    found = mc.explain(model, image, text=TEXT, method="grad_cam")
    inputs, ids = model.preprocess([image]), model.tokenize([TEXT])
    model.module.eval()
    oracle = LayerGradCam(word_scores(model), model.layer)
    for t in range(ids.shape[1]):
        expected = oracle.attribute(inputs.pixels, target=t, additional_forward_args=(ids,), relu_attributions=False)
        torch.testing.assert_close(found.maps[t], expected[0, 0].detach(), rtol=1e-4, atol=1e-6)
    assert found.maps.abs().max() > 1e-4


@pytest.mark.parametrize("cuts", [True, False])
def test_evidence_is_captums_integrated_gradients_on_the_head(cuts):
    model = small_captioner(cuts=cuts)
    found = mc.explain(model, noise_image(), text=TEXT, method="evidence", n_steps=16)
    inputs, ids = model.preprocess([noise_image()]), model.tokenize([TEXT])
    model.module.eval()
    oracle = LayerIntegratedGradients(word_scores(model), model.layer)
    for t in range(ids.shape[1]):
        expected = oracle.attribute(
            inputs.pixels,
            baselines=model.baseline_inputs(inputs).pixels,
            target=t,
            additional_forward_args=(ids,),
            n_steps=16,
            method="riemann_middle",
        )
        torch.testing.assert_close(found.maps[t], expected[0].sum(dim=0).detach(), rtol=1e-4, atol=1e-6)


class NormDecoder(nn.Module):
    """PyTorch's CPU batch norm gives wrong input gradients for one row in just this arrangement."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.query, self.readout = nn.Linear(6, 6), nn.Linear(6, 10)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, features, ids):
        cells = self.norm(self.conv(features)).flatten(2).transpose(1, 2)  # (b, cells, c)
        attention = (cells @ self.query.weight * torch.arange(1, 17)[:, None]).softmax(dim=1)
        hidden = (attention * cells).sum(dim=1).tanh()
        return self.readout(hidden)[:, None].expand(-1, ids.shape[1], -1)


@pytest.mark.parametrize("kind", ["plain", "fused", "batch norm"])
@pytest.mark.parametrize("rows", [1, 2])
def test_gradients_are_finite_differences(kind, rows):
    torch.manual_seed(1)
    decoder = {"plain": None, "fused": FusedDecoder(), "batch norm": NormDecoder()}[kind]
    model = small_captioner(decoder=decoder, cuts=kind == "plain")
    work = batch(model, [noise_image(i) for i in range(rows)], [TEXT] * rows, method=lambda a, g: g[:, 0], dtype=torch.float64)
    with call_scope.evaluation_mode(model.module):
        found = work.explain()
        for t, row, c, y, x in [(0, 0, 0, 0, 0), (1, 0, 3, 1, 2), (3, rows - 1, 5, 3, 3), (2, 0, 2, 0, 3)]:
            step, sides = 1e-6, []
            for sign in (1, -1):
                moved = found.activations.clone()
                moved[row, c, y, x] += sign * step
                with torch.no_grad():
                    sides.append(log_prob(model.logits(work.inputs, work.ids, moved), work.ids)[row, t])
            difference = (sides[0] - sides[1]) / (2 * step)
            assert found.gradients[0, t, row, c, y, x].item() == pytest.approx(difference.item(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("cuts", [True, False])
def test_batched_products_equal_the_loop(cuts, monkeypatch):
    model = small_captioner(cuts=cuts)
    together = batch(model, [noise_image()], [TEXT], method="evidence").explain()
    original = gradients._products

    def refuse(outputs, leaf, cotangents, batched):
        if batched:
            raise RuntimeError("vmap: no batching rule")
        return original(outputs, leaf, cotangents, batched)

    monkeypatch.setattr(gradients, "_products", refuse)
    looped = batch(model, [noise_image()], [TEXT], method="evidence").explain()
    assert (together.notes["products"], looped.notes["products"]) == ("batched", "looped")
    torch.testing.assert_close(together.maps, looped.maps, rtol=1e-5, atol=1e-7)


def test_short_memory_takes_smaller_chunks(monkeypatch):
    model = small_captioner()
    whole = batch(model, [noise_image()], [TEXT]).explain()
    original, sizes = gradients._products, []

    def scarce(outputs, leaf, cotangents, batched):
        sizes.append(len(cotangents))
        if len(cotangents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(outputs, leaf, cotangents, batched)

    monkeypatch.setattr(gradients, "_products", scarce)
    torch.testing.assert_close(batch(model, [noise_image()], [TEXT]).explain().maps, whole.maps)
    assert sizes[:3] == [4, 2, 1]


def test_chunks_of_nodes_and_tokens_change_nothing(monkeypatch):
    model = small_captioner()
    whole = batch(model, [noise_image()], [TEXT], method="evidence").explain()
    monkeypatch.setattr(gradients, "MAX_PRODUCT_NUMEL", 1)
    monkeypatch.setattr("multimodal_cam.core.path_attribution.MAX_GRAPH_NUMEL", 1)
    pieces = batch(model, [noise_image()], [TEXT], method="evidence").explain()
    torch.testing.assert_close(pieces.maps, whole.maps, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["grad_cam", "evidence", "layer_cam"])
def test_no_graph_is_left_behind(method):
    def with_graph():
        return [thing for thing in gc.get_objects() if type(thing) is torch.Tensor and thing.grad_fn is not None]

    model = small_captioner()
    gc.collect()
    before = len(with_graph())
    gc.disable()  # nothing may need the collector to go
    try:
        mc.explain(model, noise_image(), text=TEXT, method=method)
        assert len(with_graph()) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("method", METHODS)
def test_a_padded_batch_equals_each_image_alone(method):
    model = small_captioner()
    images = [noise_image(i) for i in range(3)]
    texts = [TEXT, "a ball", "a dog runs on red grass"]
    together = mc.explain(model, images, text=texts, method=method)
    for image, text, one in zip(images, texts, together, strict=True):
        alone = mc.explain(model, image, text=text, method=method)
        torch.testing.assert_close(one.maps, alone.maps, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.reliance, alone.reliance, rtol=1e-4, atol=1e-5)
        assert len(one.words) == len(text.split())


def test_padding_is_exactly_zero():
    work = batch(small_captioner(), [noise_image(0), noise_image(1)], [TEXT, "a"])
    found = work.explain()
    assert found.maps[0, 1:, 1].eq(0).all()
    assert found.scores[0, 1, 1:].eq(0).all()


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_planted_evidence_is_found(method):
    found = mc.explain(planted_captioner(), quadrant_image(), text="red green blue white", method=method, score="logit")
    for word, (top, left) in zip(found.words, [(0, 0), (0, 2), (2, 0), (2, 2)], strict=True):
        heat = found.map(word).clamp(min=0)
        inside = heat[top : top + 2, left : left + 2].sum()
        assert inside > 0
        assert inside == pytest.approx(heat.sum().item(), rel=1e-4), f"{method}: {word.text} is lit outside its quadrant"
        drawn = found.heatmap(word.text)
        y, x = divmod(int(drawn.argmax()), drawn.shape[1])
        assert (y // 32, x // 32) == (top // 2, left // 2)


def test_evidence_adds_up_to_the_reliance():
    model = small_captioner()
    for text in [TEXT, "dog ball grass on"]:
        found = mc.explain(model, noise_image(), text=text, method="evidence", n_steps=64)
        allowed = torch.maximum(0.01 * found.reliance.abs(), torch.tensor(0.01))
        assert (found.completeness.abs() <= allowed).all()
        torch.testing.assert_close(found.maps.sum(dim=(1, 2)) - found.reliance, found.completeness, atol=1e-6, rtol=1e-4)
    assert found.reliance.abs().max() > 0.05


@pytest.mark.parametrize("method", [name for name in METHODS if mc.METHODS[name].linear])
def test_word_maps_add_up_to_the_whole_text(method):
    found = mc.explain(small_captioner(), noise_image(), text=TEXT, method=method)
    torch.testing.assert_close(found.maps.sum(dim=0), found.whole().map)
    whole = mc.explain(
        small_captioner(), noise_image(), text=TEXT, method=lambda a, g: mc.METHODS["grad_cam"].maps(a, g), score="log_prob"
    ).whole()
    if method == "grad_cam":  # the gradient of the sum of all log-probabilities, taken at once
        torch.testing.assert_close(whole.map, found.whole().map, rtol=1e-4, atol=1e-7)


def test_other_weights_other_maps():
    first, second = (mc.explain(small_captioner(seed), noise_image(), text=TEXT, method="grad_cam").maps for seed in (0, 1))
    correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert correlation < 0.9


def test_contrast_is_the_difference_of_two_words():
    model = small_captioner()
    inputs, ids = model.preprocess([noise_image()]), model.tokenize([TEXT])
    model.module.eval()
    with torch.no_grad():
        logits = model.logits(inputs, ids)
    found = mc.explain(model, noise_image(), text=TEXT, score="contrast", method="grad_cam")
    contrast_ids = logits.scatter(-1, ids[..., None], -torch.inf).argmax(-1)
    for t in range(ids.shape[1]):
        own, other = (LayerGradCam(lambda p: model.decoder(model.encoder(p), ids)[:, t], model.layer) for _ in range(2))
        difference = own.attribute(inputs.pixels, target=int(ids[0, t])) - other.attribute(
            inputs.pixels, target=int(contrast_ids[0, t])
        )
        torch.testing.assert_close(found.maps[t], difference[0, 0].detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        found.scores, (logits.gather(-1, ids[..., None]) - logits.gather(-1, contrast_ids[..., None]))[0, :, 0]
    )


@pytest.mark.parametrize("method", ["grad_cam", "evidence"])
def test_another_layer_runs_the_network_from_there(method):
    model = small_captioner()
    found = mc.explain(model, noise_image(), text=TEXT, method=method, layer="encoder.norm", n_steps=64)
    assert found.layer == "encoder.norm"
    assert found.maps.shape == (4, 8, 8)
    if method == "grad_cam":
        inputs, ids = model.preprocess([noise_image()]), model.tokenize([TEXT])
        oracle = LayerGradCam(word_scores(model.module.eval() and model), model.encoder.norm)
        expected = oracle.attribute(inputs.pixels, target=1, additional_forward_args=(ids,))
        torch.testing.assert_close(found.maps[1], expected[0, 0].detach(), rtol=1e-4, atol=1e-6)
    else:
        assert found.completeness.abs().max() < 0.01


def test_own_score_and_own_method():
    def probability(logits, ids):
        return log_prob(logits, ids).exp()

    def absolute(activations, gradients):
        return (activations * gradients).abs().sum(dim=1)

    found = mc.explain(small_captioner(), noise_image(), text=TEXT, score=probability, method=absolute)
    assert (found.score, found.method, found.unit) == ("probability", "absolute", "score")
    torch.testing.assert_close(found.scores, found.log_probs.exp())
    assert (found.maps >= 0).all()
    with pytest.raises(mc.WordError, match="not linear"):
        found["a red"]


def test_a_score_that_mixes_positions_is_refused():
    def sliding(logits, ids):
        return log_prob(logits, ids).cumsum(dim=1)

    with pytest.raises(ValueError, match="its own position"):
        mc.explain(small_captioner(), noise_image(), text=TEXT, score=sliding)


class Saturated(nn.Module):
    """Says word 3 with p = 1 in float32, if the photo's first channel is not negative; reads nothing of a darker photo."""

    def forward(self, features, ids):
        seen = features.mean(dim=(1, 2, 3))
        logits = torch.stack([seen, seen * 2, -seen, 200 + seen, *[seen] * (len(WORDS) - 4)], dim=-1).relu()
        return logits[:, None].expand(-1, ids.shape[1], -1)


class BrightnessEncoder(nn.Module):
    def forward(self, pixels):
        return nn.functional.avg_pool2d(pixels, 8)


def saturated_captioner():
    return mc.captioner(
        encoder=BrightnessEncoder(), decoder=Saturated(), tokenizer=WORDS, bos=0, eos=1, unk=2, image_size=32, max_words=2
    )


@pytest.mark.parametrize("method", ["grad_cam", "layer_cam", "evidence"])
def test_a_word_of_probability_one_has_a_map_of_zeros(method):
    found = mc.explain(saturated_captioner(), noise_image(), text=WORDS[3], method=method, score="log_prob")
    assert found.log_probs.eq(0).all()
    assert found.maps.eq(0).all()
    assert mc.explain(saturated_captioner(), noise_image(), text=WORDS[3], method=method, score="logit").maps.any()


@pytest.mark.parametrize("method", ["grad_cam", "evidence"])
def test_a_photo_that_fails_alone_fails_beside_another(method):
    class Unread(Saturated):
        def forward(self, features, ids):
            return super().forward(features * (features.mean(dim=(1, 2, 3), keepdim=True) > 0), ids)  # dark ones: not at all

    model = mc.captioner(encoder=BrightnessEncoder(), decoder=Unread(), tokenizer=WORDS, image_size=32)
    dark, light = (Image.new("RGB", (40, 40), (value,) * 3) for value in (20, 220))
    options = {"text": WORDS[3], "method": method, "score": "logit", "n_steps": 4}
    for photos in ([dark], [light, dark]):
        with pytest.raises(ValueError, match="does not depend on layer"):
            mc.explain(model, photos, **options)
    found = mc.explain(model, [light, dark], on_error="skip", **options)
    assert found[0].maps.any()
    assert isinstance(found[1], mc.Failure)


def test_steps_are_added_where_a_word_does_not_add_up_and_nowhere_else():
    model = small_captioner()
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.mul_(2)  # a steep network: 16 steps are too few
    texts = [TEXT, "dog ball grass on"]
    few, enough = (
        mc.explain(model, [noise_image(), noise_image(1)], text=texts, method="evidence", **o) for o in ({"n_steps": 16}, {})
    )
    added = 0
    for before, after in zip(few, enough, strict=True):
        allowed = (0.02 * before.token_changes.abs()).clamp(0.001, 0.02)
        bad = before.completeness.abs() > allowed
        assert torch.equal(before.token_maps[~bad], after.token_maps[~bad])
        assert (after.completeness.abs() <= allowed).all() or after.provenance["incomplete"]
        assert after.completeness[bad].abs().sum() <= 0.5 * before.completeness[bad].abs().sum()
        named = after.provenance.get("n_steps_added", "")
        assert [word.text for word, is_bad in zip(before.words, bad, strict=True) if is_bad] == [
            part.split()[0] for part in named.split(", ") if part
        ]
        added += int(bad.sum())
    assert added  # else this tests nothing


def test_a_blank_photo_without_numbers_is_said():
    class Normalising(BrightnessEncoder):
        def forward(self, pixels):
            return super().forward((pixels - pixels.mean()) / pixels.std())  # 0 / 0 without a photo

    model = mc.captioner(encoder=Normalising(), decoder=Saturated(), tokenizer=WORDS, image_size=32, layout="channels_first")
    with pytest.warns(UserWarning, match="blank photo are not finite"):
        found = mc.explain(model, noise_image(), text=WORDS[4], method="grad_cam", score="logit")
    assert found.reliance.isnan().all()
    assert "reliance is NaN" in found.provenance["reliance"]
