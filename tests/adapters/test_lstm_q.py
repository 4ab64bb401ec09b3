"""The VQA network: its LSTM against PyTorch's, its adapter, its files, and a training that learns, resumes and refuses."""

import json

import pytest
import torch
from networks import noise_image
from torch import nn

import multimodal_cam as mc
from multimodal_cam.data.readers.question_record import Question
from multimodal_cam.models.bundle import load_model, save_model
from multimodal_cam.models.lstm import LSTM
from multimodal_cam.models.lstm_q.network import LSTMQ, LSTMQConfig
from multimodal_cam.models.nic.network import NIC, NICConfig
from multimodal_cam.models.training import vqa_training
from multimodal_cam.models.training.vqa_training import QuestionCorpus, VQAOptions, batches, train_vqa
from multimodal_cam.models.vocabulary import UNK, Vocabulary

WORDS = Vocabulary(("<eos>", "<bos>", "<unk>", "what", "is", "the", "dog", "holding", "colour"))
ANSWERS = ("stick", "ball", "red", "ice cream", "yes", "no")
QUESTION = "What is the dog holding?"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = LSTMQ(LSTMQConfig(len(WORDS), len(ANSWERS), width=32, embedding=8, hidden=8, max_words=10)).eval()
    with torch.no_grad():
        model.baseline.uniform_(0, 1)
        for layer in (model.image, model.question, model.fuse, model.readout):
            layer.weight.mul_(5)
    return model


@pytest.fixture(scope="module")
def model(network):
    from multimodal_cam.adapters.bundled import LSTMQAdapter
    from multimodal_cam.adapters.labels import Labels

    return LSTMQAdapter(network, WORDS, Labels(ANSWERS))


def test_the_written_out_lstm_is_pytorchs_for_questions_of_any_length():
    torch.manual_seed(0)
    ours, fused, d = LSTM(6, 5), nn.LSTM(6, 5, batch_first=True), 5
    order = torch.cat([torch.arange(0, 2 * d), torch.arange(3 * d, 4 * d), torch.arange(2 * d, 3 * d)])  # i f g o <- i f o g
    inputs, lengths = torch.randn(3, 4, 6), [4, 1, 3]
    with torch.no_grad():
        fused.weight_ih_l0.copy_(ours.input_gates.weight[order])
        fused.bias_ih_l0.copy_(ours.input_gates.bias[order])
        fused.weight_hh_l0.copy_(ours.hidden_gates.weight[order])
        fused.bias_hh_l0.zero_()
        real = torch.arange(4) < torch.tensor(lengths)[:, None]
        found = ours(inputs, real)
        for row, length in enumerate(lengths):
            expected, _ = fused(inputs[row : row + 1, :length])
            torch.testing.assert_close(found[row, :length], expected[0], rtol=1e-5, atol=1e-6)
            assert torch.equal(found[row, -1], found[row, length - 1])  # padding changes nothing


def test_an_answer_with_its_alternatives(model):
    e = mc.explain(model, noise_image(), question=QUESTION)
    assert e.text in ANSWERS
    assert (e.score, e.method, e.layer) == ("logit", "grad_cam", "project")
    assert e.maps.shape == (1, 14, 14)
    assert len(e.answers) == len(e.answer_maps) == 5
    assert [word.text for word in e.question_words] == ["what", "is", "the", "dog", "holding"]
    given = mc.explain(model, noise_image(), question=QUESTION, text="Ice  Cream")
    assert given.tokens == ("ice cream",)
    assert given["ice cream"].score == given.scores[0]
    assert [text for text, _ in given.answers] == [text for text, _ in e.answers]


def test_evidence_of_an_answer_adds_up(model):
    e = mc.explain(model, noise_image(), question=QUESTION, method="evidence", n_steps=64, score="log_prob")
    assert abs(e.completeness[0]) < 0.01
    torch.testing.assert_close(e.maps.sum() - e.completeness[0], e.reliance[0], rtol=1e-3, atol=1e-4)


def test_any_layer_of_the_encoder(model):
    e = mc.explain(model, noise_image(), question=QUESTION, layer="encoder")
    assert (e.layer, e.maps.shape) == ("encoder", (1, 14, 14))


def test_unknown_words_are_marked_and_said_not_dropped(model):
    e = mc.explain(model, noise_image(), question="what is the zebra holding")
    assert [(w.text, w.known) for w in e.question_words][3] == ("zebra", False)
    assert model.preprocess([noise_image()], ["what is the zebra holding"]).question_ids[0, 3] == UNK


def test_colour_may_be_spelt_color(model):
    british, american = mc.explain(model, noise_image(), question=["what colour is the dog", "what color is the dog"])
    torch.testing.assert_close(british.maps, american.maps, rtol=1e-4, atol=1e-6)
    assert american.question_words[1].text == "color"
    assert american.question_words[1].known


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("what " * 2000, "reads questions of at most 10 words, this one has 2000: shorten it"),
        ("Что держит собака?", "knows no word of the question 'Что держит собака\\?': it reads English"),
        ("...", "knows no word of the question"),
    ],
)
def test_questions_that_cannot_be_read(model, question, message):
    with pytest.raises(ValueError, match=message):
        mc.explain(model, noise_image(), question=question)


def test_an_answer_that_it_cannot_give_is_an_error_with_near_ones(model):
    with pytest.raises(mc.UnknownWordError, match="'sticks' is none of the 6 answers that the model can give; near: stick"):
        mc.explain(model, noise_image(), question=QUESTION, text="sticks")


# ---- files -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lender(tmp_path_factory):
    """A captioner in a folder, whose encoder is borrowed."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("lender")
    return save_model(NIC(NICConfig(8, width=16)), Vocabulary(("<eos>", "<bos>", "<unk>", *"abcde")), folder, training={})


def test_the_encoder_is_stored_once(tmp_path, network, lender):
    borrowed = LSTMQ(network.config)
    borrowed.load_state_dict(network.state_dict())
    borrowed.encoder.load_state_dict(load_model(lender).network.encoder.state_dict())
    save_model(borrowed, WORDS, tmp_path, training={}, answers=ANSWERS, encoder=lender)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.2 * (lender / "model.safetensors").stat().st_size
    trained = load_model(tmp_path)
    assert (trained.spec.name, trained.vocabulary, trained.answers) == ("lstm-q", WORDS, ANSWERS)
    lent = load_model(lender).network.encoder.state_dict()
    for key, value in trained.network.encoder.state_dict().items():
        assert torch.equal(value, lent[key]), key
    assert mc.load(tmp_path).labels.names == ANSWERS


def test_another_encoder_than_the_one_it_was_trained_on_is_refused(tmp_path, network, lender):
    save_model(network, WORDS, tmp_path, training={}, answers=ANSWERS, encoder=lender)
    config = json.loads((tmp_path / "config.json").read_text())
    config["encoder"]["sha256"] = "0" * 64
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="expected the encoder of .*, on which it was trained, with sha256 .0000.*: train again"):
        mc.load(tmp_path)


# ---- training ----------------------------------------------------------------------------------------------

TINY = VQAOptions(epochs=3, batch_size=2, min_count=1, min_answers=2, width=16, embedding=8, hidden=8, stride=32, dropout=0.0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(6):
        noise_image(i, (50 + i, 40)).save(folder / f"photo {i}.jpg")
    return folder


def questions(numbers):
    return [
        Question(f"photo {i}.jpg", asked, answer, "object")
        for i in numbers
        for asked, answer in (("what is it?", "dog" if i % 2 else "cat"), ("is it on the left?", "yes"))
    ]


def train(photos, lender, out, options=TINY, progress=lambda *_: None, **changed):
    given = {"train": questions(range(4)), "dev": questions(range(4, 6))} | changed
    options = VQAOptions(**vars(options) | {"encoder": str(lender)})
    return train_vqa(images=photos, out=out, options=options, device=torch.device("cpu"), progress=progress, **given)


def test_training_writes_a_model_that_loads_and_a_log(photos, lender, tmp_path):
    out = train(photos, lender, tmp_path / "run")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    assert log[2]["train"] < log[0]["train"]
    assert 0 <= log[2]["accuracy"] <= 1
    trained = load_model(out)
    assert trained.answers == ("yes", "cat", "dog")
    assert trained.network.baseline.abs().sum() > 0
    assert trained.network.no_question.abs().sum() > 0
    for said in json.loads((out / "answers.json").read_text()):
        found = mc.explain(mc.load(out), photos / said["image"], question=said["question"])
        assert found.text == said["answer"]


def test_stopped_and_resumed_equals_uninterrupted(photos, lender, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(what, done, total, remark):
        if (what, done) == ("epoch 2", 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        train(photos, lender, tmp_path / "stopped", progress=stop)
    seen = []
    resumed = load_model(train(photos, lender, tmp_path / "stopped", progress=lambda *what: seen.append(what[0]))).network
    assert "epoch 1" not in seen
    assert "features" not in seen
    whole = load_model(train(photos, lender, tmp_path / "whole")).network.state_dict()
    for key, value in resumed.state_dict().items():
        assert torch.equal(value, whole[key]), key
    with pytest.raises(ValueError, match="belongs to a run with other options"):
        train(photos, lender, tmp_path / "whole", VQAOptions(**vars(TINY) | {"seed": 5}))


def test_photos_are_mirrored_only_where_no_question_says_left_or_right():
    import numpy as np

    features = np.stack([np.stack([np.full((2, 4, 4), v) for v in (0.0, 1.0)])] * 2).astype(np.float16)
    asked = [[Question("a.jpg", "what is it?", "dog")], [Question("b.jpg", "what is on the left?", "dog")]]
    corpus = QuestionCorpus.build(features, asked, WORDS, ["dog"])
    assert corpus.mirrors == [True, False]
    seen = {4: set(), 5: set()}
    for epoch in range(20):
        for photo, row, question, answer in batches(corpus, VQAOptions(batch_size=1), epoch):
            assert (row.tolist(), answer.tolist()) == ([0], [0])
            seen[4 if question.shape[1] == 3 else 5].add(float(photo.max()))
    assert seen == {4: {0.0, 1.0}, 5: {0.0}}


def test_what_training_refuses_before_hours_are_spent(photos, lender, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"1 photos are not in .*, the first: photo 9\.jpg"):
        train(photos, lender, tmp_path / "a", train=questions([0, 9]))
    with pytest.raises(ValueError, match="expected at least 2 answers that occur 9 times or more, got 0"):
        train(photos, lender, tmp_path / "b", VQAOptions(**vars(TINY) | {"min_answers": 9}))
    assert list(tmp_path.iterdir()) == []


def test_answer_classes_are_the_frequent_ones():
    asked = [Question("a.jpg", "q", answer) for answer in ("b", "a", "b", "a", "c")]
    assert vqa_training.answer_classes(asked, 2) == ("a", "b")
