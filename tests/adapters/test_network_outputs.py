"""Networks that give probabilities: noticed, said, and the numbers of the twin that gives logits."""

import warnings

import pytest
import torch
from networks import COLOURS, Decoder, Encoder, Reader, noise_image, small_captioner, small_vqa
from torch import nn

import multimodal_cam as mc

CLASSES = ["cat", "dog", "horse", "cow", "pig", "hen"]
PHOTO = noise_image()
TEXT = "a dog runs"


class Then(nn.Module):
    """A network, and something after it."""

    def __init__(self, network, after):
        super().__init__()
        self.network, self.after = network, after

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.network, name)

    def forward(self, *inputs):
        return self.after(self.network(*inputs))


def hand_written_softmax(x):
    exponentials = (x - x.amax(dim=-1, keepdim=True)).exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


AFTER = {
    "probabilities": [nn.Softmax(dim=-1), lambda x: x.softmax(-1), hand_written_softmax, lambda x: x.log_softmax(-1).exp()],
    "log_probs": [nn.LogSoftmax(dim=-1), lambda x: x.softmax(-1).clamp(min=1e-12).log()],
    "sigmoid": [nn.Sigmoid(), lambda x: torch.sigmoid(x)[..., None].squeeze(-1)],
}
CASES = [(kind, i) for kind, afters in AFTER.items() for i in range(len(afters))]


def network(classes):
    torch.manual_seed(3)
    model = nn.Sequential(Encoder(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model


def classifier(after=None, labels=CLASSES, **options):
    whole = network(len(labels)) if after is None else nn.Sequential(network(len(labels)), Then(nn.Identity(), after))
    return mc.classifier(whole.eval(), labels=labels, image_size=32, layer="0" if after is None else "0.0", **options)


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_a_classifier_that_gives_probabilities(kind, i):
    plain = classifier()
    with pytest.warns(UserWarning, match=f"outputs='{kind}' says so"):
        model = classifier(AFTER[kind][i])
    assert model.outputs.kind == kind
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classifier(AFTER[kind][i], outputs=kind).outputs.kind == kind  # what is said is not said again
    one, two = mc.explain(plain, PHOTO, score="contrast"), mc.explain(model, PHOTO, score="contrast")
    assert [text for text, _ in one.answers] == [text for text, _ in two.answers]
    torch.testing.assert_close(one.maps, two.maps, rtol=1e-3, atol=1e-5)  # a difference of logits is one of log-probabilities
    logits = plain.logits(plain.preprocess([PHOTO]), torch.zeros(1, 1, dtype=torch.long))[0, 0]
    true = logits.sigmoid() if kind == "sigmoid" else logits.softmax(-1)
    for text, probability in two.answers:
        assert probability == pytest.approx(true[CLASSES.index(text)].item(), rel=1e-3)
    assert mc.explain(model, PHOTO, method="evidence", score="log_prob", n_steps=64)[0].completeness == pytest.approx(0, abs=0.1)


def test_maps_of_log_probabilities_are_the_twins():
    plain = mc.explain(classifier(), PHOTO, score="log_prob", text="pig")
    for kind in ("probabilities", "log_probs"):
        e = mc.explain(classifier(AFTER[kind][0], outputs=kind), PHOTO, text="pig")
        assert (e.score, e.unit) == ("log_prob", "nats")  # the default where there are no logits
        torch.testing.assert_close(e.maps, plain.maps, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(e.reliance, plain.reliance, rtol=1e-3, atol=1e-5)
        with pytest.raises(ValueError, match="gives probabilities, not logits: choose log_prob or contrast"):
            mc.explain(classifier(AFTER[kind][0], outputs=kind), PHOTO, score="logit")


def test_findings_have_a_probability_each():
    plain, model = classifier(), classifier(torch.sigmoid, outputs="sigmoid")
    e = mc.explain(model, PHOTO, text="cow")
    torch.testing.assert_close(e.maps, mc.explain(plain, PHOTO, text="cow").maps, rtol=1e-3, atol=1e-5)  # of the logit
    z = plain.logits(plain.preprocess([PHOTO]), torch.zeros(1, 1, dtype=torch.long))[0, 0]
    blank = plain.baseline_inputs(plain.preprocess([PHOTO]))
    z0 = plain.logits(blank, torch.zeros(1, 1, dtype=torch.long))[0, 0]
    assert e["cow"].log_prob == pytest.approx(nn.functional.logsigmoid(z[3]).item(), rel=1e-3)
    assert e.reliance[0].item() == pytest.approx((nn.functional.logsigmoid(z) - nn.functional.logsigmoid(z0))[3].item(), rel=1e-2)
    assert dict(e.answers)["cow"] == pytest.approx(z[3].sigmoid().item(), rel=1e-3)
    slope = mc.explain(model, PHOTO, text="cow", score="log_prob").maps
    torch.testing.assert_close(slope, e.maps * (1 - z[3].sigmoid()), rtol=1e-3, atol=1e-5)


def test_one_finding():
    e = mc.explain(classifier(torch.sigmoid, labels=["pneumonia"], outputs="sigmoid"), PHOTO)
    logit = network(1).eval()(classifier().preprocess([PHOTO]).pixels)
    assert e.text == "pneumonia"
    assert e.log_probs[0].exp().item() == pytest.approx(logit.sigmoid().item(), rel=1e-3)
    with pytest.raises(ValueError, match="two classes or more"):
        classifier(labels=["pneumonia"])


@pytest.mark.parametrize(("kind", "i"), CASES[:-2])
def test_a_captioner_whose_decoder_gives_probabilities(kind, i):
    plain = mc.explain(small_captioner(), PHOTO, text=TEXT)
    fresh, twin = small_captioner(), Decoder()
    with pytest.warns(UserWarning, match=f"outputs='{kind}' says so"):
        model = small_captioner(decoder=Then(twin, AFTER[kind][i]))
    model.encoder.load_state_dict(fresh.encoder.state_dict())
    twin.load_state_dict(fresh.decoder.state_dict())
    e = mc.explain(model, PHOTO, text=TEXT)
    torch.testing.assert_close(e.maps, plain.maps, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(e.log_probs, plain.log_probs, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(e.reliance, plain.reliance, rtol=1e-3, atol=1e-4)
    assert mc.explain(model, PHOTO).text == mc.explain(fresh, PHOTO).text


@pytest.mark.parametrize("kind", ["probabilities", "sigmoid"])
def test_a_vqa_network_that_gives_probabilities(kind):
    plain = small_vqa()
    with pytest.warns(UserWarning, match=f"outputs='{kind}' says so"):
        model = mc.vqa(
            encoder=plain.encoder,
            head=Then(plain.head, AFTER[kind][0]),
            answers=list(COLOURS),
            tokenizer=plain.tokenizer,
            image_size=32,
        )
    one, two = (mc.explain(m, PHOTO, question="what is top", score="contrast") for m in (plain, model))
    torch.testing.assert_close(one.maps, two.maps, rtol=1e-3, atol=1e-5)
    if kind == "probabilities":
        assert dict(two.answers) == pytest.approx(dict(one.answers), rel=1e-3)
    else:
        assert sum(p for _, p in two.answers) != pytest.approx(1, abs=1e-2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_logits_are_not_mistaken(scale):
    """Those of small networks lie between 0 and 1 by chance."""
    for seed in range(8):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        with torch.no_grad():
            net[4].weight.mul_(scale)
            net[4].bias.fill_(0.5)
        assert mc.classifier(net, image_size=32).outputs.kind == "logits"
        frozen = net.requires_grad_(False)
        assert mc.classifier(frozen, image_size=32).outputs.kind == "logits"


def test_what_may_be_either_is_said():
    def written_out(x):
        return 1 / (1 + (-x).exp())

    with pytest.warns(UserWarning, match="all outputs lie between 0 and 1, and are taken for logits: outputs='sigmoid'"):
        assert classifier(written_out).outputs.kind == "logits"
    assert classifier(written_out, outputs="sigmoid").outputs.kind == "sigmoid"


@pytest.mark.parametrize(
    ("kind", "after", "match"),
    [
        ("probabilities", None, "expected rows of 0 or more that add up to 1; classifier gives"),
        ("log_probs", None, "expected rows whose exponentials add up to 1"),
        ("sigmoid", None, r"expected numbers from 0 to 1; a network that gives logits needs nn.Sigmoid\(\) behind it"),
        ("probabilities", torch.sigmoid, "add up to 1"),
    ],
)
def test_the_wrong_kind_is_refused(kind, after, match):
    with pytest.raises(ValueError, match=match):
        classifier(after, outputs=kind)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown outputs 'softmax'; choose from logits, log_probs, probabilities, sigmoid"):
        classifier(outputs="softmax")
    with pytest.raises(ValueError, match="unknown outputs 'probs'"):
        small_captioner(outputs="probs")


def test_nothing_of_the_network_is_different_afterwards():
    encoder, decoder = Encoder().train(), Decoder().train()
    state = torch.get_rng_state()
    mc.captioner(encoder=encoder, decoder=decoder, tokenizer=[str(i) for i in range(10)], image_size=32)
    assert torch.equal(state, torch.get_rng_state())
    assert encoder.training and decoder.training  # noqa: PT018
    assert all(parameter.grad is None for parameter in [*encoder.parameters(), *decoder.parameters()])
    assert not any(module._forward_hooks for module in [*encoder.modules(), *decoder.modules()])


def test_a_vocabulary_unlike_the_logits_is_said_when_the_model_is_made():
    parts = {"encoder": Encoder(), "decoder": Decoder(), "image_size": 32}
    with pytest.raises(ValueError, match="11 logits|the ids 0 to 10, but the network's 10 logits"):
        mc.captioner(tokenizer=[f"w{i}" for i in range(11)], **parts)
    with pytest.raises(ValueError, match="8 words for 10 logits, the ids 8 to 9 have no word: list all words"):
        mc.captioner(tokenizer=[f"w{i}" for i in range(8)], **parts)
    assert mc.captioner(tokenizer=[f"w{i}" for i in range(8)], bos=8, eos=9, **parts)
    assert mc.captioner(tokenizer={f"w{i}": i for i in range(1, 10)}, **parts)  # ids from 1
    with pytest.raises(ValueError, match="the ids 1 to 10, but the network's 10 logits are those of the ids 0 to 9"):
        mc.captioner(tokenizer={i: f"w{i}" for i in range(1, 11)}, **parts)
    with pytest.warns(UserWarning, match="the ids 6 to 9 have no word and are never said"):
        mc.captioner(tokenizer={f"w{i}": i for i in range(6)}, **parts)
    with pytest.raises(ValueError, match=r"expected logits \(3, 2\), one for each of answers=, got \(3, 4\)"):
        mc.vqa(encoder=Encoder(), head=Reader(), answers=["yes", "no"], tokenizer=["what"], unk=0, image_size=32)
