"""On a CUDA device: the same maps as on the CPU, cuDNN's LSTM in evaluation mode, half precision."""

import pytest
import torch
from networks import FusedDecoder, noise_image, small_captioner

import multimodal_cam as mc

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TEXT = "a red dog runs"


@pytest.mark.parametrize("method", [name for name in mc.METHODS if name != "attention"])
def test_the_same_maps_as_on_the_cpu(method):
    maps = []
    for device in ("cpu", "cuda"):
        model = small_captioner()
        model.module.to(device)
        maps.append(mc.explain(model, [noise_image(0), noise_image(1)], text=TEXT, method=method)[1].maps)
    torch.testing.assert_close(*maps, rtol=1e-2, atol=1e-4)
    assert maps[1].device.type == "cpu"


@pytest.mark.parametrize("method", ["grad_cam", "evidence"])
def test_cudnn_lstm_in_evaluation_mode(method):
    maps = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = small_captioner(decoder=FusedDecoder(), cuts=False)
        model.module.to(device)
        maps.append(mc.explain(model, noise_image(), text=TEXT, method=method).maps)
    torch.testing.assert_close(*maps, rtol=1e-2, atol=1e-4)
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize("method", ["grad_cam", "evidence"])
def test_bfloat16_is_near_float32(method):
    maps = []
    for dtype in (torch.float32, torch.bfloat16):
        model = small_captioner()
        model.module.to("cuda", dtype)
        maps.append(mc.explain(model, noise_image(), text=TEXT, method=method).maps)
    correlation = torch.corrcoef(torch.stack([m.flatten() for m in maps]))[0, 1]
    assert correlation > 0.95


def test_nic_speaks_alike():
    from pathlib import Path

    photo = Path(mc.__file__).parent / "data" / "samples" / "dog.jpg"
    first, second = (mc.explain(mc.load("nic", device=device), photo) for device in ("cpu", "cuda"))
    assert first.text == second.text
    torch.testing.assert_close(first.maps, second.maps, rtol=1e-2, atol=1e-3)


def test_the_devices_random_state_is_put_back():
    model = small_captioner()
    model.module.to("cuda")
    before = torch.cuda.get_rng_state()
    mc.explain(model, noise_image(), text=TEXT, method=lambda a, g: (a * g + 0 * torch.rand(1, device="cuda")).sum(dim=1))
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_checksums_see_every_byte():
    from multimodal_cam.adapters.network_state import checksums

    torch.manual_seed(0)
    tensors = [torch.randn(5000, 3000), torch.randn(7), torch.randn(11, dtype=torch.bfloat16), torch.tensor(3)]
    there = [tensor.cuda() for tensor in tensors]
    known = checksums(there)
    assert checksums([tensor.clone() for tensor in there]) == known
    assert checksums(tensors) != known  # another device
    for tensor in there:
        tensor.view(-1)[-1] += 1
        assert checksums(there) != known
        tensor.view(-1)[-1] -= 1
    there[0].copy_(there[0].flip(0))
    assert checksums(there) != known


def test_the_check_of_the_weights_is_cheaper_than_a_pass():
    from time import perf_counter

    from torchvision.models import resnet50

    from multimodal_cam.adapters.network_state import network_state

    network, pixels = resnet50().cuda().eval(), torch.randn(1, 3, 224, 224, device="cuda")

    def seconds(run):
        run()
        torch.cuda.synchronize()
        start = perf_counter()
        for _ in range(10):
            run()
        torch.cuda.synchronize()
        return perf_counter() - start

    with torch.no_grad():
        assert seconds(lambda: network_state(network)) < 1.5 * seconds(lambda: network(pixels))


@pytest.mark.filterwarnings("ignore")
def test_compiled_and_parallel_networks():
    bare = small_captioner()
    bare.module.cuda()
    expected = mc.explain(bare, noise_image(), text=TEXT, method="evidence")
    for wrap in (torch.compile, torch.nn.DataParallel):
        encoder = wrap(bare.encoder)
        with torch.no_grad():
            encoder(torch.randn(2, 3, 32, 32, device="cuda"))
        model = mc.captioner(encoder=encoder, decoder=bare.decoder, tokenizer=bare.tokenizer, image_size=32, max_words=8)
        found = mc.explain(model, noise_image(), text=TEXT, method="evidence")
        torch.testing.assert_close(found.maps, expected.maps, rtol=1e-3, atol=1e-5)
