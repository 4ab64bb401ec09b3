import copy

import numpy as np
import pytest
import torch
from networks import COLOURS, planted_captioner, planted_vqa, quadrant_image, small_captioner

import multimodal_cam as mc
from multimodal_cam.study.quantus_bridge import words_as_classes

TEXT = "red green blue white"
BOXES = {"red": [(0.0, 0.0, 0.5, 0.5)], "white": [(0.5, 0.5, 1.0, 1.0)], "blue": [(0.0, 0.5, 0.5, 1.0)]}


def planted(**options):
    model = planted_captioner()
    return model, mc.explain(model, quadrant_image(), text=TEXT, **options)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp", "evidence"])
def test_a_word_is_a_class_and_its_map_the_explanations(method):
    model = small_captioner()
    e = mc.explain(model, quadrant_image(), text="a dog runs on grass", method=method)
    batch = words_as_classes(model, e)
    x = torch.from_numpy(batch["x_batch"])
    assert x.shape == (5, 3, 32, 32)
    assert batch["y_batch"].tolist() == [0, 1, 2, 3, 4]
    expected = torch.tensor([e[i].log_prob for i in range(5)])
    assert torch.allclose(batch["model"](x), expected.expand(5, 5), atol=1e-5)
    assert batch["a_batch"].shape == (5, 1, 32, 32)
    assert "s_batch" not in batch
    again = batch["explain_func"](batch["model"], batch["x_batch"], batch["y_batch"])
    assert np.allclose(again, batch["a_batch"], atol=1e-6 * abs(again).max() + 1e-7)


def test_masks_are_the_boxes_and_rows_are_in_their_order():
    model, e = planted(method="grad_cam")
    batch = words_as_classes(model, e, BOXES)
    assert batch["y_batch"].tolist() == [0, 3, 2]
    assert batch["s_batch"].shape == (3, 1, 32, 32)
    assert batch["s_batch"][0, 0, :16, :16].all()
    assert batch["s_batch"].sum(axis=(1, 2, 3)).tolist() == [256] * 3
    assert (batch["a_batch"] * batch["s_batch"]).sum() > 0.5 * batch["a_batch"].clip(0).sum()


def test_a_copy_with_other_weights_explains_those_and_leaves_the_model_alone():
    model, e = planted(method="grad_cam")
    model.module.train()
    batch = words_as_classes(model, e)
    other = copy.deepcopy(batch["model"])
    with torch.no_grad():
        next(other.network.parameters()).mul_(-1)
    mine, theirs = (batch["explain_func"](one, batch["x_batch"], batch["y_batch"]) for one in (batch["model"], other))
    assert np.allclose(mine, -theirs * (mine.max() / -theirs.min()), atol=1e-3 * mine.max())
    assert np.allclose(mine, batch["a_batch"], atol=1e-6)
    assert model.module.training
    assert not batch["model"].training


def test_an_answer_is_a_class_under_its_question():
    model = planted_vqa()
    e = mc.explain(model, quadrant_image(), question="what colour is top left")
    batch = words_as_classes(model, e)
    assert e.text in COLOURS
    assert batch["model"](torch.from_numpy(batch["x_batch"])).item() == pytest.approx(e[0].log_prob, abs=1e-5)
    assert np.allclose(batch["explain_func"](batch["model"], batch["x_batch"], batch["y_batch"]), batch["a_batch"], atol=1e-6)


def test_an_explanation_that_cannot_be_repeated_is_refused():
    model, e = planted(method=lambda activations, gradients: (activations * gradients).sum(dim=1))
    with pytest.raises(ValueError, match="is a function of yours"):
        words_as_classes(model, e)
    with pytest.raises(ValueError, match="explain without it"):
        words_as_classes(*planted(instead_of={"red": "green"}))
    with pytest.raises(mc.WordError, match="dog"):
        words_as_classes(model, planted()[1], {"dog": BOXES["red"]})


def test_quantus_metrics_run():
    quantus = pytest.importorskip("quantus", reason="an extra of its own: pip install multimodal-cam[quantus]")
    model, e = planted(method="grad_cam")
    batch, quiet = words_as_classes(model, e, BOXES), {"disable_warnings": True}
    assert quantus.PointingGame(**quiet)(**batch) == [True] * 3
    assert min(quantus.RelevanceMassAccuracy(**quiet)(**batch)) > 0.5
    assert all(0 <= value <= 1 for value in quantus.Sparseness(**quiet)(**batch))
    faithful = quantus.FaithfulnessCorrelation(nr_runs=5, subset_size=64, **quiet)(**batch)
    assert np.isfinite(faithful).all()
    assert len(quantus.RandomLogit(num_classes=4, **quiet)(**batch)) == 3
