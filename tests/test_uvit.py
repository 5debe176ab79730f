"""Laws of the U-ViT: it starts as nothing, a sample is its own, labels and noise count, and only skips carry detail."""
import pytest
import torch
from shaken_nets import shaken

from canvaslab.nets.uvit import UViT


def small(**more):
    return UViT(**{"channels": 2, "size": 16, "widths": (8, 16), "width": 16, "depth": 2, "heads": 2, "patch": 2,
                   "classes": 3, **more})


def inputs(batch=5):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(batch, 2, 16, 16, dtype=torch.float64, generator=generator),
            torch.randn(batch, dtype=torch.float64, generator=generator), torch.tensor([0, 1, 2, -1, 1])[:batch])


def test_the_net_starts_at_zero():
    assert (small().double()(*inputs()) == 0).all()


def test_a_sample_does_not_see_its_batch():
    net, (x, noise, cond) = shaken(small()), inputs()
    whole = net(x, noise, cond)
    single = torch.cat([net(x[i:i + 1], noise[i:i + 1], cond[i:i + 1]) for i in range(len(x))])
    assert torch.allclose(whole, single, atol=1e-12) and whole.std() > 0


def test_label_minus_one_is_no_label_and_noise_counts():
    net, (x, noise, cond) = shaken(small()), inputs()
    none = net(x, noise)
    assert torch.equal(net(x, noise, torch.full_like(cond, -1)), none)
    assert not torch.allclose(net(x, noise, cond)[0], none[0])
    assert not torch.allclose(net(x, noise + 0.1, cond), net(x, noise, cond))


@pytest.mark.parametrize("more", [{}, {"widths": (8,)}, {"widths": (), "depth": 1}, {"classes": 0}])
def test_every_parameter_counts(more):
    net, (x, noise, cond) = shaken(small(**more)), inputs()
    out = net(x, noise, cond if net.classes else None)
    assert out.shape == x.shape
    out.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_only_the_transformer_sees_the_whole_image():
    """With its blocks closed, a corner reaches no farther than the convolutions; with them open, everywhere."""
    x, noise, cond = inputs(1)
    x = x.expand(1, 2, 16, 16).repeat(1, 1, 4, 4).requires_grad_()

    def reach(net):
        corner = net(x, noise, cond)[0, :, 0, 0].sum()
        return (torch.autograd.grad(corner, x)[0].abs().sum((0, 1)) > 0)[-8:, -8:].any()

    net = shaken(small(size=64, widths=(8,)))
    for m in net.modules():
        if isinstance(m, torch.nn.GroupNorm):  # its mean and spread are of the whole image
            m.forward = lambda h: h
    assert reach(net)
    for block in net.middle:
        torch.nn.init.zeros_(block.film.weight), torch.nn.init.zeros_(block.film.bias)
    assert not reach(net)


@pytest.mark.parametrize("call", [
    lambda: small(size=12), lambda: small(widths=(12,)), lambda: small(heads=3),
    lambda: small()(torch.zeros(2, 1, 16, 16), torch.zeros(2)),
    lambda: small(classes=0)(torch.zeros(2, 2, 16, 16), torch.zeros(2), torch.zeros(2).long()),
])
def test_what_does_not_fit_gets_one_sentence(call):
    with pytest.raises(ValueError, match=r"multiple|given"):
        call()
