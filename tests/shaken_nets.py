"""Nets away from their start, for tests that would see nothing of a net whose last layer is zero."""

import torch


def shaken(net):
    """A net away from its zero start, in float64."""
    torch.manual_seed(0)
    net = net.double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net
