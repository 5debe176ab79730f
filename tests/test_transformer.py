"""Laws of the transformer: it starts as nothing, tokens are images, and only positions tell tokens apart."""
import pytest
import torch
from einops import rearrange
from shaken_nets import shaken
from torch import nn

from canvaslab.nets.transformer import PRESETS, Block, DiT, grid_positions, patchify, unpatchify


def inputs(shape=(2, 8, 8), batch=5):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(batch, *shape, dtype=torch.float64, generator=generator),
            torch.randn(batch, dtype=torch.float64, generator=generator), torch.tensor([0, 1, 2, -1, 1])[:batch])


def small(**more):
    return DiT(**{"channels": 2, "size": 8, "patch": 2, "width": 16, "depth": 2, "heads": 2, "classes": 3, **more})


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_and_images_are_the_same_numbers(patch):
    x = torch.arange(2 * 3 * 8 * 12.0).view(2, 3, 8, 12)
    tokens = patchify(x, patch)
    assert tokens.shape == (2, 96 // patch**2, 3 * patch**2)
    assert torch.equal(unpatchify(tokens, patch, 8 // patch), x)
    assert torch.equal(tokens[0, 1].view(3, patch, patch), x[0, :, :patch, patch:2 * patch])  # the second of row 0


def test_the_net_starts_at_zero_and_each_block_as_the_identity():
    x, noise, cond = inputs()
    assert (small().double()(x, noise, cond) == 0).all()
    tokens, emb = torch.randn(3, 10, 16), torch.randn(3, 16)
    assert torch.equal(Block(16, 2)(tokens, emb), tokens)


def test_a_block_does_not_know_the_order_of_its_tokens():
    block, order = shaken(Block(16, 4)), torch.randperm(12)
    tokens, emb = torch.randn(2, 12, 16, dtype=torch.float64), torch.randn(2, 16, dtype=torch.float64)
    assert torch.allclose(block(tokens, emb)[:, order], block(tokens[:, order], emb), atol=1e-12)


def test_only_the_positions_tell_where_a_token_is():
    net, (x, noise, cond) = shaken(small()), inputs()

    def swapped(images):
        """The same images with the two halves of their rows of tokens exchanged."""
        return rearrange(images, "b c (two h) w -> b c two h w", two=2).flip(2).flatten(2, 3)
    assert not torch.allclose(net(swapped(x), noise, cond), swapped(net(x, noise, cond)))
    net.positions.zero_()
    assert torch.allclose(net(swapped(x), noise, cond), swapped(net(x, noise, cond)), atol=1e-12)


def test_positions_are_all_different_and_equally_long():
    places = grid_positions(8, 32)
    assert places.shape == (64, 32) and torch.allclose(places.square().sum(1), torch.tensor(16.0))
    assert (torch.cdist(places, places) + torch.eye(64) > 0.1).all()
    row = places.view(8, 8, 32)
    assert torch.equal(row[0, :, 16:], row[5, :, 16:]) and torch.equal(row[:, 0, :16], row[:, 7, :16])


def test_labels_and_noise_matter_and_minus_one_is_no_label():
    net, (x, noise, cond) = shaken(small()), inputs()
    out, none = net(x, noise, cond), net(x, noise)
    assert torch.equal(net(x, noise, torch.full_like(cond, -1)), none)
    differs = [not torch.allclose(a, b) for a, b in zip(out, none, strict=True)]
    assert differs == [True, True, True, False, True]
    assert not torch.allclose(net(x, noise + 0.1, cond), out)


def test_a_sample_does_not_see_its_batch_and_every_parameter_learns():
    net, (x, noise, cond) = shaken(small()), inputs()
    whole = net(x, noise, cond)
    single = torch.cat([net(x[i:i + 1], noise[i:i + 1], cond[i:i + 1]) for i in range(len(x))])
    assert whole.dtype == torch.float64 and torch.allclose(whole, single, atol=1e-12)
    whole.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_attention_equals_its_formula():
    block = shaken(Block(8, 2))
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    q, k, v = block.qkv(x)[0].view(5, 3, 2, 4).unbind(1)  # (token, head, channel)
    heads = [torch.softmax(q[:, h] @ k[:, h].T / 2, dim=1) @ v[:, h] for h in range(2)]
    assert torch.allclose(block.attend(x)[0], block.out(torch.cat(heads, 1)), atol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_run_at_32_and_are_as_large_as_the_docstring_says(name):
    with torch.device("meta"):
        net = DiT(**PRESETS[name], size=32, classes=10)
        assert net(torch.empty(2, 1, 32, 32), torch.empty(2), torch.empty(2).long()).shape == (2, 1, 32, 32)
    inner = sum(p.numel() for b in net.blocks for m in (b.qkv, b.out, b.mlp) for p in m.parameters() if p.ndim > 1)
    assert inner == 12 * len(net.blocks) * net.stem.out_features**2
    assert isinstance(net.embed_labels.embed, nn.Embedding)


@pytest.mark.parametrize("call", [
    lambda: DiT(size=30), lambda: DiT(width=66, heads=3), lambda: DiT(width=64, heads=5),
    lambda: small()(torch.zeros(2, 2, 4, 4), torch.zeros(2)),
    lambda: small(classes=0)(torch.zeros(2, 2, 8, 8), torch.zeros(2), torch.zeros(2).long()),
])
def test_what_does_not_fit_gets_one_sentence(call):
    with pytest.raises(ValueError, match=r"multiple|given"):
        call()
