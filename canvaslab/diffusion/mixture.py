"""The one model whose every quantity is known: a Gaussian mixture, or a finite data set, under added noise."""

import math
from copy import copy

import torch
from torch import Tensor


class Mixture:
    """Isotropic Gaussian mixture as a denoiser: ``mixture(x, sigma, cond=None) -> E[x0 | x]``, exactly.

    means: (K, ...) centres. std: a number, or (K,) one for each component; 0 makes it the ideal denoiser of the data
    set ``means`` (every training image a component). weights: (K,) positive, any sum; equal when not given.
    labels: (K,) integers; then ``cond`` (B,) restricts each row to the components of its label, -1 to none.

    All in the log domain with distances taken directly: finite however far x lies. Move it with ``.to(x)``.
    """

    def __init__(
        self,
        means: Tensor,
        std: float | Tensor = 0.0,
        weights: Tensor | None = None,
        labels: Tensor | None = None,
    ):
        if means.ndim < 2 or len(means) == 0:
            raise ValueError(f"means has shape {tuple(means.shape)}; accepted: (components, ...) with two or more axes")
        self.shape = means.shape[1:]
        self.means = means.flatten(1)  # (K, D)
        self.std = torch.as_tensor(std, dtype=means.dtype, device=means.device).expand(len(means))  # (K,)
        if (self.std < 0).any():
            raise ValueError(f"std must be >= 0, got {std}")
        weights = means.new_ones(len(means)) if weights is None else torch.as_tensor(weights).to(means)
        if weights.shape != (len(means),) or (weights <= 0).any():
            raise ValueError(f"weights must be {len(means)} positive numbers, got {weights.tolist()}")
        self.logw = weights.log().log_softmax(0)
        self.labels = labels
        if labels is not None and labels.shape != (len(means),):
            raise ValueError(f"labels has shape {tuple(labels.shape)}; accepted: ({len(means)},)")

    def to(self, like: Tensor | torch.device | torch.dtype | str) -> "Mixture":
        """The same mixture on another device or in another dtype, both those of ``like`` if it is a tensor."""
        moved = copy(self)
        moved.means, moved.std, moved.logw = (part.to(like) for part in (self.means, self.std, self.logw))
        moved.labels = None if self.labels is None else self.labels.to(moved.means.device)
        return moved

    def _joint(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """log(weight_k N(x; mean_k, std_k^2 + sigma^2)), (B, K), and the variances, (B, K)."""
        if x.shape[1:] != self.shape:
            axes = ", ".join(map(str, self.shape))
            raise ValueError(f"x has shape {tuple(x.shape)}; this mixture lives on (batch, {axes})")
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        variance = sigma[:, None].square() + self.std.square()
        distance = torch.cdist(x.flatten(1), self.means, compute_mode="donot_use_mm_for_euclid_dist")
        log_norm = self.means.shape[1] / 2 * torch.log(2 * math.pi * variance)
        joint = self.logw - distance.square() / (2 * variance) - log_norm
        if cond is not None:
            if self.labels is None:
                raise ValueError("cond was given, but this mixture has no labels: build it with labels=...")
            absent = (cond[:, None] != self.labels) & (cond[:, None] >= 0)
            if absent.all(1).any():
                known = sorted(set(self.labels.tolist()))
                raise ValueError(f"cond holds labels that no component has; accepted: {known}, and -1 for none")
            joint = joint.masked_fill(absent, -torch.inf)
        return joint, variance

    def posterior(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """Probability of each component given x, (B, K)."""
        return self._joint(x, sigma, cond)[0].softmax(1)

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """E[x0 | x], shaped like x (B, ...): each component's own shrinkage, weighed by its posterior."""
        joint, variance = self._joint(x, sigma, cond)
        share = joint.softmax(1)
        keep = share * (self.std.square() / variance)  # how much of x itself survives, (B, K)
        x0 = (share - keep) @ self.means + keep.sum(1, keepdim=True) * x.flatten(1)
        return x0.view_as(x)

    def score(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """Gradient of ``log_prob`` with respect to x, shaped like x. Needs sigma > 0 or std > 0.

        Tweedie's formula, (E[x0 | x] - x) / sigma^2, written so that it also holds at sigma = 0.
        """
        joint, variance = self._joint(x, sigma, cond)
        pull = joint.softmax(1) / variance
        return (pull @ self.means - pull.sum(1, keepdim=True) * x.flatten(1)).view_as(x)

    def log_prob(self, x: Tensor, sigma: Tensor | float = 0.0, cond: Tensor | None = None) -> Tensor:
        """log-density of the data plus noise of level sigma, (B,), in nats. Needs sigma > 0 or std > 0.

        With ``cond``: the joint density of x and its label.
        """
        return self._joint(x, sigma, cond)[0].logsumexp(1)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n points of the mixture, (n, ...)."""
        k = torch.multinomial(self.logw.exp(), n, replacement=True, generator=generator)
        eps = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=self.means.device)
        return (self.means[k] + self.std[k, None] * eps).view(n, *self.shape)
