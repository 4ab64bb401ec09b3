"""Occlusion against captum, one word at a time, and against maps that were worked out by hand."""

import pytest
import torch
from captum.attr import LayerFeatureAblation, Occlusion
from networks import noise_image, small_captioner

import multimodal_cam as mc
from multimodal_cam.methods import METHODS
from multimodal_cam.methods.canvas import Canvas
from multimodal_cam.methods.method_options import OPTIONS, MethodOptions
from multimodal_cam.scores import log_prob

TEXT = "a red dog runs"


def word_scores(model):
    """Pixels and ids -> one number a word, as captum wants it."""
    return lambda pixels, ids: log_prob(model.decoder(model.encoder(pixels), ids), ids)


def canvas(values, score, fill=0.0):
    """A canvas `(b, c, h, w)` of one score a row, `score(values (n b, c, h, w)) -> (n b,)`."""

    def scored(perturbed):
        return score(perturbed.flatten(0, 1)).view(len(perturbed), 1, -1)

    size = (values.shape[2], values.shape[3])
    return Canvas(
        size, "pixels", values, torch.full_like(values, fill), lambda m: m, scored, scored(values[None])[0], values, at_once=2
    )


def found(values, score, **options):
    spec = METHODS["occlusion"]
    return spec.perturb(canvas(values, score), spec.read_options(options))


def test_a_place_gets_the_mean_drop_of_the_windows_that_cover_it():
    values = torch.tensor([[[[1.0, 2, 3], [4, 5, 6]]]])
    maps = found(values, lambda x: x.sum(dim=(1, 2, 3)), window=(2, 2), stride=1)
    # windows: columns 0-1 lose 1 + 2 + 4 + 5, columns 1-2 lose 2 + 3 + 5 + 6
    torch.testing.assert_close(maps, torch.tensor([[[[12.0, 14, 16], [12, 14, 16]]]]))
    cells = found(values, lambda x: x.square().sum(dim=(1, 2, 3)), window=1)
    torch.testing.assert_close(cells[0, 0], torch.tensor([[1.0, 4, 9], [16, 25, 36]]))


def test_a_window_over_the_edge_is_cut_off():
    values = torch.tensor([[[[1.0, 2, 3, 4, 5]]]])
    maps = found(values, lambda x: x.sum(dim=(1, 2, 3)), window=(1, 2), stride=(1, 2))
    torch.testing.assert_close(maps[0, 0, 0], torch.tensor([3.0, 3, 7, 7, 5]))


@pytest.mark.parametrize(("window", "stride"), [((8, 8), (8, 8)), ((10, 7), (5, 4)), ((32, 32), (1, 1)), ((9, 9), (9, 9))])
def test_pixels_are_captums_occlusion_of_each_word(window, stride):
    model = small_captioner()
    e = mc.explain(model, noise_image(), text=TEXT, method="occlusion", window=window, stride=stride, score="log_prob")
    inputs, ids = model.preprocess([noise_image()]), model.tokenize([TEXT])
    model.module.eval()
    oracle = Occlusion(word_scores(model))
    for t in range(ids.shape[1]):
        expected = oracle.attribute(
            inputs.pixels,
            sliding_window_shapes=(3, *window),
            strides=(3, *stride),
            baselines=model.baseline_inputs(inputs).pixels,
            target=t,
            additional_forward_args=(ids,),
        )
        torch.testing.assert_close(e.maps[t], expected[0, 0].float(), rtol=1e-4, atol=1e-6)
    assert e.maps.shape[-2:] == (32, 32)
    assert e.maps.abs().max() > 1e-4


def test_cells_of_the_layer_are_captums_feature_ablation():
    model = small_captioner()
    e = mc.explain(model, noise_image(), text=TEXT, method="occlusion", where="layer", fill=0, score="log_prob")
    inputs, ids = model.preprocess([noise_image()]), model.tokenize([TEXT])
    model.module.eval()
    oracle = LayerFeatureAblation(word_scores(model), model.layer)
    cells = torch.arange(16).view(1, 1, 4, 4)
    for t in range(ids.shape[1]):
        expected = oracle.attribute(inputs.pixels, target=t, additional_forward_args=(ids,), layer_mask=cells)
        torch.testing.assert_close(e.maps[t], expected[0, 0], rtol=1e-4, atol=1e-6)


def test_words_add_up_and_rows_of_a_batch_do_not_mix():
    model, images = small_captioner(), [noise_image(0), noise_image(1)]
    options = {"method": "occlusion", "window": 8, "score": "log_prob"}
    together = mc.explain(model, images, text=[TEXT, "a ball"], **options)
    alone = mc.explain(model, images[1], text="a ball", **options)
    torch.testing.assert_close(together[1].maps, alone.maps, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(alone.whole().map, alone.maps.sum(dim=0))
    against = mc.explain(model, images[1], text="a ball", counterfactual=True, **options)
    torch.testing.assert_close(against.maps, -alone.maps, rtol=1e-4, atol=1e-6)
    assert alone.provenance["window"] == "8x8"
    assert alone.heatmap("ball").shape == (30, 40)


@pytest.mark.parametrize("fill", ["baseline", "mean", "blur", -1.5])
def test_fills(fill):
    model = small_captioner()
    e = mc.explain(model, noise_image(), text="dog", method="occlusion", window=32, fill=fill)
    pixels = model.preprocess([noise_image()]).pixels
    made = {"baseline": model.baseline_inputs(model.preprocess([noise_image()])).pixels, "mean": pixels.mean((2, 3), True)}
    if fill != "blur":
        other = made.get(fill, torch.full_like(pixels, -1.5) if fill == -1.5 else None).expand_as(pixels)
        ids = model.tokenize(["dog"])
        model.module.eval()
        with torch.no_grad():
            drop = word_scores(model)(pixels, ids) - word_scores(model)(other, ids)
        torch.testing.assert_close(e.maps[0], drop[0].expand(32, 32), rtol=1e-4, atol=1e-6)
    assert e.maps.any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 33}, ValueError, "window: expected at most 32 x 32 pixels of the network's input .* got 33 x 33"),
        ({"where": "layer", "window": (1, 5)}, ValueError, "window: expected at most 4 x 4 cells of layer 'encoder'"),
        ({"window": 0}, ValueError, r"window: expected a whole number from 1, or \(height, width\), got 0"),
        ({"window": (1, 2, 3)}, ValueError, "window: expected a whole number"),
        ({"window": 4.5}, ValueError, "window: expected a whole number"),
        ({"window": True}, ValueError, "window: expected a whole number"),
        ({"window": 4, "stride": 5}, ValueError, "stride: expected at most the window, 4 x 4, .* got 5 x 5"),
        ({"fill": "grey"}, ValueError, "fill: expected baseline, mean, blur or a finite number, got 'grey'"),
        ({"fill": float("nan")}, ValueError, "fill: expected baseline, mean, blur or a finite number, got nan"),
        ({"fill": "blur", "where": "layer"}, ValueError, "fill='blur' blurs pixels"),
        ({"where": "tokens"}, ValueError, "where: expected pixels, layer, got 'tokens'"),
        ({"method": "grad_cam", "window": 4}, TypeError, "grad_cam has no window=: it has no options; .*occlusion.* it"),
    ],
)
def test_bad_options_are_one_line(options, error, message):
    with pytest.raises(error, match=message) as caught:
        mc.explain(small_captioner(), noise_image(), text=TEXT, **{"method": "occlusion"} | options)
    assert "\n" not in str(caught.value)


def test_a_layer_that_the_text_does_not_read_is_refused():
    model = small_captioner()
    model.encoder.blind = torch.nn.Identity()

    def look(encoder, args):
        encoder.blind(args[0])

    model.encoder.register_forward_pre_hook(look)
    with pytest.raises(ValueError, match="does not depend on layer 'encoder.blind'"):
        mc.explain(model, noise_image(), text=TEXT, method="occlusion", layer="encoder.blind", where="layer", window=8)


def test_the_table_and_the_types_have_the_same_options():
    assert set(MethodOptions.__annotations__) == set(OPTIONS)


def test_a_number_of_any_function():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(256, 5)
    )
    pixels = torch.randn(2, 3, 8, 8)
    options = {"method": "occlusion", "window": 4, "stride": 2}
    maps = mc.explain_score(network, network[1], pixels, fill=0.5, **options)
    for k in range(5):
        expected = Occlusion(network).attribute(pixels, (3, 4, 4), (3, 2, 2), baselines=0.5, target=k)[:, 0]
        torch.testing.assert_close(maps[:, k], expected.float().detach(), rtol=1e-4, atol=1e-6)
    nothing = mc.explain_score(network, network[1], pixels, baseline=torch.full_like(pixels, 0.5), **options)
    torch.testing.assert_close(nothing, maps)
    rounded = mc.explain_score(lambda x: network(x).argmax(dim=1).float(), network[1], pixels, fill=0, **options)
    assert rounded.shape == (2, 8, 8)  # no gradient is needed
    last = mc.explain_score(network, network[1], pixels, where="layer", fill="mean", **options)
    assert last.shape == (2, 5, 8, 8)
    channels_last = mc.explain_score(
        lambda x: network(x.permute(0, 3, 1, 2)), network[1], pixels.permute(0, 2, 3, 1), fill=0.5, **options
    )
    torch.testing.assert_close(channels_last, maps)
    with pytest.raises(ValueError, match="fill='baseline': pass baseline="):
        mc.explain_score(network, network[1], pixels, **options)
    with pytest.raises(ValueError, match="rows hang together"):
        mc.explain_score(lambda x: network(x) - network(x).mean(dim=0), network[1], pixels, fill=0, **options)
