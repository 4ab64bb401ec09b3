"""Questions: planted evidence, one pass for all answers, contrasts, counterfactuals, and the words of the question."""

import pytest
import torch
from networks import COLOURS, noise_image, planted_vqa, quadrant_image, small_vqa

import multimodal_cam as mc
from multimodal_cam.adapters.contract import UnknownWordError

PLACES = {"top left": (0, 0), "top right": (0, 2), "bottom left": (2, 0), "bottom right": (2, 2)}
QUESTION = "what colour is top left"
LAYER_METHODS = sorted(name for name, spec in mc.METHODS.items() if spec.kind in ("gradient", "path"))


def ask(model, question=QUESTION, image=None, **options):
    return mc.explain(model, image or noise_image(), question=question, **options)


@pytest.mark.parametrize("method", LAYER_METHODS)
@pytest.mark.parametrize("size", [(64, 64), (90, 40)])
def test_the_map_lies_where_the_question_points(method, size):
    model, image = planted_vqa(), quadrant_image(size)
    for (place, (top, left)), colour in zip(PLACES.items(), COLOURS, strict=True):
        e = ask(model, f"What colour is {place}?", image, method=method)
        assert e.text == colour
        heat = e.maps[0].clamp(min=0)
        inside = heat[top : top + 2, left : left + 2].sum()
        assert inside > 0.98 * heat.sum() > 0


def test_the_question_is_part_of_the_result():
    e = ask(planted_vqa(), "What colour is bottom left?", quadrant_image())
    assert e.question == "What colour is bottom left?"
    assert e.text == "blue"
    assert [text for text, _ in e.answers][0] == "blue"
    assert sum(p for _, p in e.answers) == pytest.approx(1, abs=1e-5)  # there are four
    assert [p for _, p in e.answers] == sorted((p for _, p in e.answers), reverse=True)
    assert e["blue"].score == e.scores[0].item()
    assert (e.score, e.unit) == ("logit", "logit")
    assert e.reliance.shape == (1,)
    assert mc.explain(planted_vqa(), quadrant_image(), question=QUESTION, score="log_prob").unit == "nats"


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_answer_maps_of_one_pass_are_those_of_separate_passes(method):
    model = small_vqa()
    e = ask(model, method=method)
    assert list(e.answer_maps) == [text for text, _ in e.answers]
    assert set(e.answer_maps) == set(COLOURS)
    for text, map in e.answer_maps.items():
        alone = ask(model, text=text, method=method)
        torch.testing.assert_close(map, alone.maps[0], rtol=1e-4, atol=1e-6)
        assert dict(alone.answers)[text] == pytest.approx(dict(e.answers)[text], rel=1e-4)


@pytest.mark.parametrize("text", sorted(COLOURS))
def test_equal_to_captum_for_every_answer(text):
    captum = pytest.importorskip("captum.attr")
    model, image = small_vqa(), noise_image()
    inputs = model.preprocess([image], [QUESTION])
    network = torch.nn.Module()
    network.encoder, network.head = model.encoder, model.head
    network.forward = lambda pixels: network.head(network.encoder(pixels), inputs.question_ids)
    model.module.eval()
    expected = captum.LayerGradCam(network, model.encoder).attribute(inputs.pixels, target=model.labels.ids[text])
    found = ask(model, text=text, image=image)
    torch.testing.assert_close(found.maps[0], expected[0, 0].detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "xgrad_cam", "evidence"])
def test_instead_of_is_the_difference_of_two_answers(method):
    model = small_vqa()
    e = ask(model, method=method)
    best, other = e.answers[0][0], e.answers[2][0]
    contrast = ask(model, method=method, instead_of=other)
    assert contrast.text == best
    assert (contrast.score, contrast.unit) == ("contrast", "nats")
    torch.testing.assert_close(contrast.maps[0], e.answer_maps[best] - e.answer_maps[other], rtol=1e-4, atol=1e-6)
    ratio = dict(e.answers)[best] / dict(e.answers)[other]
    assert contrast.scores[0].exp().item() == pytest.approx(ratio, rel=1e-4)
    named = ask(model, method=method, text=best, instead_of={best: other})
    torch.testing.assert_close(named.maps, contrast.maps)


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "xgrad_cam", "evidence"])
def test_a_counterfactual_is_the_negated_map(method):
    model = small_vqa()
    e, against = ask(model, method=method), ask(model, method=method, counterfactual=True)
    assert against.text == e.text
    assert (against.score, against.counterfactual) == ("logit", True)
    torch.testing.assert_close(against.maps, -e.maps)
    torch.testing.assert_close(against.scores, -e.scores)
    torch.testing.assert_close(against.reliance, e.reliance)


def test_several_questions_about_a_photo_run_the_backbone_once():
    model, image = small_vqa(), noise_image()
    model.layer_view(model.preprocess([image], ["what is left"]), model.layer)  # its layout is measured once
    runs = []
    handle = model.encoder.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    questions = [f"what colour is {place}" for place in PLACES]
    together = ask(model, questions, image)
    handle.remove()
    assert runs == [1, 1]  # the photo, and the mean-colour image of the baseline, computed once
    assert [e.question for e in together] == questions
    for question, e in zip(questions, together, strict=True):
        alone = ask(model, question, image)
        assert alone.text == e.text
        torch.testing.assert_close(alone.maps, e.maps, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(alone.token_question, e.token_question, rtol=1e-4, atol=1e-6)
    with_texts = ask(model, questions, image, text="red")
    torch.testing.assert_close(with_texts[2].maps, ask(model, questions[2], image, text="red").maps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"layer": "encoder.first"}, {"method": "evidence"}, {"method": "evidence", "layer": "encoder.norm"}]
)
def test_photos_and_questions_in_pairs_equal_one_by_one(options):
    model = small_vqa()
    images = [noise_image(0), noise_image(1), noise_image(0)]
    images[2] = images[0]  # twice the same photo
    questions = ["what colour is top left", "colour", "what is bottom right"]
    for e, image, question in zip(mc.explain(model, images, question=questions, **options), images, questions, strict=True):
        alone = ask(model, question, image, **options)
        assert alone.text == e.text
        torch.testing.assert_close(alone.maps, e.maps, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(alone.token_question, e.token_question, rtol=1e-4, atol=1e-6)


def test_the_words_of_the_question_add_up_like_the_map():
    model = small_vqa()
    e = ask(model, method="evidence", n_steps=256)
    words = e.question_words
    assert [word.text for word in words] == QUESTION.split()
    inputs = model.preprocess([noise_image()], [QUESTION])
    ids = model.tokenize([e.text])
    model.module.eval()
    with torch.no_grad():
        features = model.encoder(inputs.pixels)
        handle = model.head.embedding.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
        silent = model.logits(inputs, ids, features)[0, 0, ids[0, 0]]
        handle.remove()
        asked = model.logits(inputs, ids, features)[0, 0, ids[0, 0]]
    assert sum(word.share for word in words) == pytest.approx((asked - silent).item(), abs=0.01)


def test_question_words_are_gradient_times_input_for_grad_cam():
    model = small_vqa()
    e = ask(model)
    inputs = model.preprocess([noise_image()], [QUESTION])
    model.module.eval()
    words = model.head.embedding(inputs.question_ids).detach().requires_grad_()
    handle = model.head.embedding.register_forward_hook(lambda module, args, output: words)
    logits = model.head(model.encoder(inputs.pixels), inputs.question_ids)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, model.labels.ids[e.text]], words)
    expected = (gradient * words).sum(dim=-1)[0]
    torch.testing.assert_close(torch.tensor([word.share for word in e.question_words]), expected.detach(), rtol=1e-4, atol=1e-6)


def test_the_words_that_point_have_the_largest_shares():
    e = ask(planted_vqa(), "what colour is bottom right", quadrant_image(), method="evidence")
    shares = {word.text: word.share for word in e.question_words}
    assert min(shares["bottom"], shares["right"]) > 10 * max(abs(shares["what"]), abs(shares["colour"]), abs(shares["is"]))


def test_unknown_words_of_a_question_are_marked():
    e = ask(planted_vqa(), "what hue is top left", quadrant_image())
    assert [(word.text, word.known) for word in e.question_words][:2] == [("what", True), ("hue", False)]


def test_saved_and_loaded_with_its_answers(tmp_path):
    e = ask(small_vqa(), method="evidence")
    again = mc.Explanation.load(e.save(tmp_path / "answer"))
    assert again.question == e.question
    assert again.answers == e.answers
    assert again.question_words == e.question_words
    for text, map in e.answer_maps.items():
        assert torch.equal(again.answer_maps[text], map)


def test_nothing_stays_behind():
    model = small_vqa()
    model.module.train()
    before = torch.random.get_rng_state()
    ask(model, method="evidence")
    assert model.module.training
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(module._forward_hooks for module in model.module.modules())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"question": None}, ValueError, "answers questions: pass question="),
        ({"question": ""}, ValueError, "question: expected words, got ''"),
        ({"question": "   "}, ValueError, "question: expected words"),
        ({"question": "?!"}, ValueError, "reads questions of 1 to 64 tokens, this one has 0"),
        ({"question": "what " * 2000}, ValueError, "reads questions of 1 to 64 tokens, this one has 2000"),
        ({"question": QUESTION, "text": "purple"}, UnknownWordError, "'purple' is none of the 4 answers"),
        ({"question": QUESTION, "text": "rad"}, UnknownWordError, "near: red"),
        ({"question": QUESTION, "instead_of": "purple"}, UnknownWordError, "'purple' is none of the 4 answers"),
        ({"question": QUESTION, "text": "red", "instead_of": "red"}, ValueError, "reads 'red' as it reads 'red'"),
        ({"question": QUESTION, "instead_of": {"cat": "red"}}, mc.WordError, "'cat' is not in"),
        ({"question": QUESTION, "instead_of": "red", "score": "logit"}, ValueError, "leave score='logit' out"),
        ({"question": QUESTION, "beam": 3}, TypeError, "beam has no meaning here"),
    ],
)
def test_what_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        mc.explain(small_vqa(), noise_image(), **options)


def test_a_captioner_takes_no_question():
    from networks import small_captioner

    with pytest.raises(ValueError, match=r"takes no question, got 'what is it\?': leave it out"):
        mc.explain(small_captioner(), noise_image(), question="what is it?")
