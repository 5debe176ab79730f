"""Laws of the nets."""
import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from canvaslab.nets.mlp import MLP
from canvaslab.nets.unet import PRESETS, UNet

KINDS = {
    "mlp": (lambda: MLP(2, width=16, depth=2, classes=3), (2,)),
    "unet": (lambda: UNet(widths=(8, 16), classes=3), (1, 28, 28)),
    "colour": (lambda: UNet(channels=3, size=32, widths=(8, 16, 16), classes=3, blocks=2), (3, 32, 32)),
}


def shaken(make):
    """A net away from its zero start."""
    torch.manual_seed(0)
    net = make().double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


def inputs(shape, batch=5):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(batch, *shape, dtype=torch.float64, generator=generator),
            torch.randn(batch, dtype=torch.float64, generator=generator), torch.tensor([0, 1, 2, -1, 1])[:batch])


@pytest.mark.parametrize("kind", KINDS)
def test_starts_at_zero(kind):
    make, shape = KINDS[kind]
    x, noise, cond = inputs(shape)
    assert (make().double()(x, noise, cond) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_see_its_batch(kind):
    make, shape = KINDS[kind]
    net, (x, noise, cond) = shaken(make), inputs(shape)
    whole = net(x, noise, cond)
    single = torch.cat([net(x[i:i + 1], noise[i:i + 1], cond[i:i + 1]) for i in range(len(x))])
    assert whole.dtype == torch.float64 and torch.allclose(whole, single, atol=1e-12) and whole.std() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_label_minus_one_is_no_label(kind):
    make, shape = KINDS[kind]
    net, (x, noise, cond) = shaken(make), inputs(shape)
    none = net(x, noise)
    assert torch.equal(net(x, noise, torch.full_like(cond, -1)), none)
    assert not torch.allclose(net(x, noise, cond)[0], none[0]) and torch.allclose(net(x, noise, cond)[3], none[3])


@pytest.mark.parametrize("kind", KINDS)
def test_noise_and_every_parameter_count(kind):
    make, shape = KINDS[kind]
    net, (x, noise, cond) = shaken(make), inputs(shape)
    out = net(x, noise, cond)
    assert not torch.allclose(out, net(x, noise + 0.1, cond))
    out.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_mlp_under_vmap_is_a_loop():
    nets = [shaken(lambda: MLP(2, width=16, depth=2, classes=3)) for _ in range(3)]
    for i, net in enumerate(nets):
        nn.init.constant_(net.head.bias, i)
    x, noise, cond = inputs((2,))
    base = copy.deepcopy(nets[0]).to("meta")
    params, buffers = stack_module_state(nets)
    together = vmap(lambda p, b: functional_call(base, (p, b), (x, noise, cond)))(params, buffers)
    assert torch.allclose(together, torch.stack([net(x, noise, cond) for net in nets]), atol=1e-12)


def test_memory_format_does_not_change_the_unet():
    net, (x, noise, cond) = shaken(KINDS["unet"][0]), inputs((1, 28, 28))
    plain = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(net(x, noise, cond), plain(x, noise, cond), atol=1e-12)
    assert torch.allclose(net(last, noise, cond), plain(x, noise, cond), atol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_stated_size(name):
    with torch.device("meta"):
        count = sum(p.numel() for p in UNet(**PRESETS[name]).parameters())
    assert 0.2e6 <= count < 51e6
    row = next(line.split() for line in UNet.__doc__.splitlines() if line.split()[:1] == [name])
    assert f"{count / 1e6:.2f}" == row[-2], f"the docstring says {row[-2]} M, it has {count / 1e6:.2f} M"
    given = ", ".join(f"{k}={v}" for k, v in PRESETS[name].items())
    assert given in UNet.__doc__


@pytest.mark.parametrize("call", [
    lambda: UNet(size=28, widths=(8, 8, 8)), lambda: UNet(widths=(12,)),
    lambda: UNet(widths=(8,))(torch.zeros(2, 3, 28, 28), torch.zeros(2)),
    lambda: UNet(widths=(8,))(torch.zeros(2, 1, 28, 28), torch.zeros(2), torch.zeros(2).long()),
    lambda: MLP(2, classes=3)(torch.zeros(2, 2), torch.zeros(2), torch.tensor(1)),
    lambda: MLP(2)(torch.zeros(2, 3), torch.zeros(2)), lambda: MLP(2, width=16)(torch.zeros(2), torch.zeros(2)),
])
def test_what_does_not_fit_gets_one_sentence(call):
    with pytest.raises(ValueError, match=r"multiple|given"):
        call()


def test_every_width_that_the_error_allows_runs():
    for width in range(8, 257, 8):
        net = UNet(size=8, widths=(width,), embedding=8).to("meta")
        assert net(torch.empty(1, 1, 8, 8, device="meta"), torch.empty(1, device="meta")).shape == (1, 1, 8, 8)
