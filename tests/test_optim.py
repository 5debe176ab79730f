"""The optimiser against torch's own."""
import copy

import pytest
import torch
from torch import nn

from canvaslab.lab.optim import Muon, gram_newton_schulz, newton_schulz, recipe_optimizer


def descend(params, optimizer, steps=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator).to(p)
        optimizer.step()
    return params


def clones(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    first = [nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in shapes]
    return first, copy.deepcopy(first)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_muon_on_matrices_is_torch_muon(weight_decay, monkeypatch):
    mine, theirs = clones((16, 8), (8, 16), (16, 8), (12, 12), dtype=torch.float64)
    descend(mine, Muon([{"params": mine, "lr": 0.02, "muon": True}], weight_decay=weight_decay))
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.double)  # torch rounds to 8 bits, which hides errors
    descend(theirs, torch.optim.Muon(theirs, lr=0.02, weight_decay=weight_decay, momentum=0.95))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(mine, theirs, strict=True))


def test_muon_in_bfloat16_is_torch_muon_to_its_rounding():
    mine, theirs = clones((16, 8), (8, 16), (12, 12))
    start = [p.detach().clone() for p in mine]
    descend(mine, Muon([{"params": mine, "lr": 0.02, "muon": True}], dtype=torch.bfloat16))
    descend(theirs, torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0, momentum=0.95))
    for a, b, s in zip(mine, theirs, start, strict=True):
        assert (a - b).norm() < 0.05 * (b - s).norm()  # two ways to round 25 products to 8 bits


def test_muon_on_a_convolution_is_muon_on_its_matrix():
    (conv,), _ = clones((8, 4, 3, 3), dtype=torch.float64)
    matrix = nn.Parameter(conv.detach().flatten(1).clone())
    channels_last = nn.Parameter(conv.detach().clone(memory_format=torch.channels_last))
    generator = torch.Generator().manual_seed(2)
    params = [conv, matrix, channels_last]
    optimizers = [Muon([{"params": [p], "lr": 0.1, "muon": True}]) for p in params]
    for _ in range(4):
        g = torch.randn(8, 4, 3, 3, generator=generator, dtype=torch.float64)
        conv.grad, matrix.grad, channels_last.grad = g, g.flatten(1), g.contiguous(memory_format=torch.channels_last)
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(conv.flatten(1), matrix, atol=1e-12) and torch.allclose(conv, channels_last, atol=1e-12)


def test_matrices_of_one_shape_do_not_touch_each_other():
    together, alone = clones((6, 4), (6, 4), (6, 4), dtype=torch.float64)
    descend(together, Muon([{"params": together, "lr": 0.1, "muon": True}]))
    descend(alone, Muon([{"params": [p], "lr": 0.1, "muon": True} for p in alone]))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(together, alone, strict=True))


def test_the_rest_is_torch_adamw():
    mine, theirs = clones((7,), (3, 5), dtype=torch.float64)
    descend(mine, Muon([{"params": mine, "lr": 0.01}], weight_decay=0.1))
    descend(theirs, torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(mine, theirs, strict=True))


def test_newton_schulz_turns_singular_values_to_one_and_keeps_directions():
    x = torch.randn(5, 12, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = newton_schulz(x)
    values = torch.linalg.svdvals(y)
    assert values.min() > 0.6 and values.max() < 1.25
    assert torch.allclose(newton_schulz(x.mT), y.mT, atol=1e-12)
    assert torch.allclose(newton_schulz(1000 * x), y, atol=1e-9)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-11), (torch.float32, 5e-4)])
@pytest.mark.parametrize(("rows", "columns"), [(12, 60), (12, 12), (1, 5)])
def test_the_gram_matrix_leads_to_the_same_factor(rows, columns, dtype, close):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(3, n, rows, dtype=torch.float64, generator=generator))[0]
                   for n in (rows, columns))
    for smallest in (1, 1e-2, 1e-4, 0):  # singular values from 1 down to here
        x = left @ torch.diag_embed(torch.linspace(1, smallest, rows, dtype=torch.float64)) @ right.mT
        x[2] = 0  # no update: no step
        y = x.to(dtype)
        torch.testing.assert_close((gram_newton_schulz(y @ y.mT) @ y).double(), newton_schulz(x), rtol=0, atol=close)


def test_recipe_splits_the_net():
    net = nn.ModuleDict({"stem": nn.Linear(3, 4), "hidden": nn.Linear(4, 4), "label": nn.Embedding(3, 4),
                         "head": nn.Linear(4, 1), "conv": nn.Conv2d(2, 2, 3)})
    net["hidden"].bias.requires_grad_(False)
    hidden, rest = recipe_optimizer(net).param_groups
    assert {id(p) for p in hidden["params"]} == {id(net["hidden"].weight), id(net["conv"].weight)}
    assert len(rest["params"]) == 6 and not rest["muon"]  # stem 2, label 1, head 2, bias of the convolution


def test_vectors_are_refused_by_muon():
    with pytest.raises(ValueError, match="shape"):
        Muon([{"params": [nn.Parameter(torch.zeros(3))], "muon": True}])


def test_state_goes_through_a_file(tmp_path):
    def run(steps, state=None, skip=0):
        (a, b), _ = clones((6, 4), (4,))
        optimizer = Muon([{"params": [a], "lr": 0.1, "muon": True}, {"params": [b], "lr": 0.1}])
        generator = torch.Generator().manual_seed(3)
        grads = [[torch.randn(p.shape, generator=generator) for p in (a, b)] for _ in range(6)]
        if state is not None:
            values, inner = torch.load(state, weights_only=True)
            optimizer.load_state_dict(inner)
            with torch.no_grad():
                a.copy_(values[0]), b.copy_(values[1])
        for ga, gb in grads[skip:steps]:
            a.grad, b.grad = ga, gb
            optimizer.step()
        return [a, b], optimizer
    whole, _ = run(6)
    half, optimizer = run(3)
    torch.save(([p.detach() for p in half], optimizer.state_dict()), tmp_path / "state.pt")
    resumed, _ = run(6, tmp_path / "state.pt", skip=3)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
