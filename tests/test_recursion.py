"""Strays by kind, balance of modes, and data by copy."""

import pytest
import torch

from canvaslab.science import many, recursion

CORNERS = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
STD = 0.02


def test_each_place_has_its_kind():
    places = torch.tensor([[0.0, 0.1], [0.2, 0.0], [0.5, 0.0], [0.5, 0.5], [3.0, 3.0], [1.0, 0.6]])
    between, blurred, elsewhere = recursion.strays(places, CORNERS, STD)
    assert between.tolist() == [False, False, True, False, False, True]
    assert blurred.tolist() == [False, True, False, False, False, False]
    assert elsewhere.tolist() == [False, False, False, True, True, False]


def test_kinds_do_not_overlap_and_make_up_all_that_lies_off():
    x = 3 * torch.rand(5000, 2, generator=torch.Generator().manual_seed(0)) - 1
    kinds = torch.stack(recursion.strays(x, CORNERS, STD))
    assert kinds.sum(0).max() == 1
    assert torch.equal(kinds.any(0), recursion.hal.hallucinated(x, CORNERS, STD))


def test_kinds_turn_and_scale_with_the_picture():
    x = 2 * torch.rand(2000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5
    turn = 3 * torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
    here = recursion.strays(x, CORNERS.double(), STD)
    there = recursion.strays(x @ turn + 5, CORNERS.double() @ turn + 5, 3 * STD)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_no_room_for_blur_is_said():
    with pytest.raises(ValueError, match="no room for blur"):
        recursion.strays(CORNERS, CORNERS, 0.05)


def test_shares_of_modes():
    x = CORNERS[[0, 0, 0, 3]] + 0.1
    assert recursion.mode_shares(x, CORNERS).tolist() == [0.75, 0, 0, 0.25]
    assert recursion.mode_shares(x[:0], CORNERS).tolist() == [0, 0, 0, 0]


def test_each_copy_sees_its_own_data_and_a_step_can_be_asked_for_again():
    data = torch.arange(3.0)[:, None, None] + torch.rand(3, 50, 2) / 2
    batches = recursion.OwnData(data, 40, seed=4)
    rows = batches(7).view(3, 40, 2)
    assert torch.equal(rows.floor(), torch.arange(3.0)[:, None, None].expand(3, 40, 2))
    assert torch.equal(batches(7), batches(7)) and not torch.equal(batches(7), batches(8))
    assert len(rows[0].unique(dim=0)) > 20
    with pytest.raises(ValueError, match="accepted"):
        recursion.OwnData(data[0], 40)


def test_nets_side_by_side_give_what_each_gives_alone():
    nets = [torch.nn.Conv2d(1, 1, 3, padding=1).double() for _ in range(3)]
    calls = [lambda x, noise, cond, net=net: net(x) * noise.view(-1, 1, 1, 1) for net in nets]
    together = many.SideBySide([_Told(net) for net in nets], (1, 4, 4))
    x, told = torch.randn(6, 16, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    alone = [call(x[2 * k : 2 * k + 2].view(2, 1, 4, 4), told[2 * k : 2 * k + 2], None) for k, call in enumerate(calls)]
    torch.testing.assert_close(together(x, told), torch.cat(alone).view(6, 16))
    with pytest.raises(ValueError, match=r"accepted: \(3 copies \* B, 16\)"):
        together(x[:4], told[:4])


class _Told(torch.nn.Module):
    """A convolution that also uses the noise."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, noise, cond=None):
        return self.net(x) * noise.view(-1, 1, 1, 1)
