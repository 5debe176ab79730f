"""Laws of the autoencoder: standardised latents, a decoder that undoes the standardisation, a loss in closed form."""
import pytest
import torch

from canvaslab.nets.autoencoder import Autoencoder, autoencoder_loss


def small(**more):
    torch.manual_seed(0)
    return Autoencoder(**{"channels": 2, "latents": 3, "widths": (8, 16), **more}).double()


def images(n=40, size=16):
    return torch.randn(n, 2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_latents_have_mean_0_and_std_half_in_each_channel_whatever_their_own_scale():
    net, x = small(), images()
    with torch.no_grad():
        net.head_latent[2].weight.mul_(50)
        net.head_latent[2].bias.add_(7)
    z = net.measure(x, size=7).encode(x)
    assert z.shape == (40, 3, 4, 4)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(z.std((0, 2, 3)), torch.full((3,), 0.5, dtype=torch.float64), atol=1e-9)


def test_decode_undoes_the_standardisation_and_measuring_changes_no_image():
    net, x = small(), images()
    before = net(x)[0]
    assert torch.allclose(net.decode(net.encode(x)), before)
    net.measure(x)
    assert torch.allclose(net.decode(net.encode(x)), before) and torch.allclose(net(x)[0], before)


def test_what_was_measured_is_saved_with_the_weights():
    net, other, x = small().measure(images()), small(), images()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.encode(x), net.encode(x)) and (other.std != 0.5).all()


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 8, 8)])
def test_the_factor_is_two_for_each_width(widths):
    net = small(widths=widths)
    z = net.encode(images(2))
    assert z.shape[2] * net.factor == 16 and net.factor == 2 ** len(widths)
    assert net.decode(z).shape == (2, 2, 16, 16)


def test_the_loss_is_error_plus_penalty_and_its_noise_is_in_the_latents():
    net, batch = small(), (images(6), None)
    back, raw = net(batch[0])
    error = (back - batch[0]).square().mean()
    assert autoencoder_loss(net, batch, noise=0.0, penalty=0.0).item() == pytest.approx(error.item(), abs=1e-12)
    wanted = error + 0.3 * raw.square().mean()
    assert autoencoder_loss(net, batch, noise=0.0, penalty=0.3).item() == pytest.approx(wanted.item(), abs=1e-12)
    torch.manual_seed(3)
    noisy = autoencoder_loss(net, batch, noise=2.0, penalty=0.0)
    torch.manual_seed(3)
    by_hand = (net.image(raw + 2.0 * torch.randn_like(raw)) - batch[0]).square().mean()
    assert noisy.item() == pytest.approx(by_hand.item(), abs=1e-12)


def test_a_fit_reconstructs_better_than_the_mean_image():
    torch.manual_seed(0)
    net = Autoencoder(channels=1, latents=2, widths=(8, 8))
    ramp = torch.linspace(-1, 1, 8)
    x = torch.randn(64, 1, 1, 1) * ramp.view(1, 1, 8, 1) + torch.randn(64, 1, 1, 1) * ramp.view(1, 1, 1, 8)
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        adam.zero_grad()
        autoencoder_loss(net, (x,), noise=0.1).backward()
        adam.step()
    assert (net.measure(x).decode(net.encode(x)) - x).square().mean() < 0.1 * x.var()


def test_every_parameter_learns_and_a_sample_does_not_see_its_batch():
    net, x = small(), images(4)
    autoencoder_loss(net, (x,)).backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())
    assert torch.allclose(torch.cat([net.encode(part) for part in x.split(1)]), net.encode(x), atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (2, 2, 18, 16), (2, 16, 16)])
def test_what_does_not_fit_gets_one_sentence(shape):
    with pytest.raises(ValueError, match="given"):
        small().encode(torch.zeros(shape, dtype=torch.float64))
