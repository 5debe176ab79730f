"""Muon for hidden matrices and convolutions, AdamW for the rest: one optimiser, one state."""
import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def newton_schulz(update: Tensor, steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """Nearly orthogonal factor of each matrix in ``update`` (..., rows, columns): singular values move into .7 to 1.2.

    ``dtype`` of the products: bfloat16 on a GPU, the update's own elsewhere. Source: Jordan et al. 2024, 'Muon', a
    quintic Newton-Schulz iteration on X / |X|.
    """
    a, b, c = COEFFICIENTS
    tall = update.shape[-2] > update.shape[-1]
    x = update.to(dtype or (torch.bfloat16 if update.is_cuda else update.dtype))
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def gram_newton_schulz(gram: Tensor, steps: int = 5) -> Tensor:
    """The factors Q with ``Q @ x = newton_schulz(x)``, from ``gram = x @ x.mT`` of shape (matrices, rows, rows).

    Each iterate of `newton_schulz` is a polynomial of the Gram matrix times x, so only that small matrix has to be
    iterated: less than half the products for a wide x, and one batch for all x with equally many rows. It holds the
    squares of singular values, so use float32 or more. Source: Zhang et al. 2026, 'Gram Newton-Schulz'.
    """
    a, b, c = COEFFICIENTS
    size = gram.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=1e-14).view(-1, 1, 1)  # |x|^2
    gram, ones = gram / size, a * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = step = torch.baddbmm(b * gram + ones, gram, gram, alpha=c)
    for _ in range(steps - 1):
        gram = gram @ step @ step
        step = torch.baddbmm(b * gram + ones, gram, gram, alpha=c)
        factor = factor @ step
    return factor * size.rsqrt()


def matrices(p: Tensor, update: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (out, columns), with the columns in the order in which p has them in memory, so that p's is a view."""
    order = sorted(range(1, p.ndim), key=p.stride, reverse=True)
    return p.permute(0, *order).flatten(1), update.permute(0, *order).flatten(1)


class Muon(torch.optim.Optimizer):
    """One optimiser for a whole net. Groups with ``muon=True`` take Muon steps, the others AdamW steps.

    Muon (Jordan et al. 2024): Nesterov momentum, then `newton_schulz`, then a step of size
    ``lr * sqrt(max(1, rows / columns))``; a convolution (out, in, h, w) counts as the matrix (out, in*h*w).
    dtype: of the products; None: bfloat16 on a GPU, the parameters' own elsewhere. Equals `torch.optim.Muon` on
    matrices, but takes convolutions and works in batches: of one shape in half precision, and in full precision of
    equally many rows, by `gram_newton_schulz`.
    Errors: a Muon parameter with fewer than two axes.
    """
    def __init__(self, groups: Iterable[dict], weight_decay: float = 0.0, momentum: float = 0.95,
                 betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8, steps: int = 5,
                 dtype: torch.dtype | None = None):
        self.dtype = dtype
        super().__init__(groups, {"muon": False, "lr": 1e-3, "weight_decay": weight_decay, "momentum": momentum,
                                  "betas": betas, "eps": eps, "steps": steps})
        flat = [tuple(p.shape) for g in self.param_groups if g["muon"] for p in g["params"] if p.ndim < 2]
        if flat:
            raise ValueError(f"Muon was given a parameter of shape {flat[0]}, but it steps matrices and convolutions: "
                             "put vectors in a group with muon=False")

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                (self._muon if group["muon"] else self._adamw)(params, group)
        return loss

    def _muon(self, params: list[Tensor], group: dict) -> None:
        grads = [p.grad for p in params]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in params]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, momenta, group["momentum"])  # Nesterov
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        dtype = self.dtype or (torch.bfloat16 if params[0].is_cuda else params[0].dtype)
        half, alike = dtype.itemsize < 4, defaultdict(list)
        for p, update in zip(params, updates, strict=True):
            w, x = matrices(p, update)
            rows, columns = x.shape
            size = -group["lr"] * math.sqrt(max(1, rows / columns))
            w, x = (w, x) if rows <= columns else (w.mT, x.mT)
            alike[(rows, columns) if half else len(x)].append((w, x.to(dtype), size))
        for some in alike.values():
            ws, xs, sizes = zip(*some, strict=True)
            if half:
                turned = newton_schulz(torch.stack(xs), group["steps"], dtype).to(ws[0].dtype)
                torch._foreach_add_(ws, turned.unbind(), alpha=sizes[0])
            else:
                factors = gram_newton_schulz(torch.stack([x @ x.mT for x in xs]), group["steps"])
                for w, factor, x, size in zip(ws, factors, xs, sizes, strict=True):
                    w.add_(factor @ x, alpha=size)

    def _adamw(self, params: list[Tensor], group: dict) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p].update(count=torch.zeros((), device=p.device), first=torch.zeros_like(p),
                                     second=torch.zeros_like(p))
        states = [self.state[p] for p in params]
        adamw(params, [p.grad for p in params], [s["first"] for s in states], [s["second"] for s in states], [],
              [s["count"] for s in states], fused=all(p.device.type in ("cpu", "cuda") for p in params), amsgrad=False,
              beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"], weight_decay=group["weight_decay"],
              eps=group["eps"], maximize=False)


def recipe_optimizer(net: nn.Module, lr: float = 0.015, adam_lr: float = 2e-3, weight_decay: float = 0.0,
                     outside: tuple[str, ...] = ("stem", "head", "embed")) -> Muon:
    """The recipe's optimiser: Muon at ``lr`` for hidden matrices and convolutions, AdamW (.9, .95) at ``adam_lr``
    for the rest: vectors, `nn.Embedding`s and every module whose name begins with a word of ``outside``.

    net: any module; frozen parameters are left out. Returns one optimiser with one ``state_dict``.
    """
    embeddings = {id(m.weight) for m in net.modules() if isinstance(m, nn.Embedding)}
    hidden, rest = [], []
    for name, p in net.named_parameters():
        if p.requires_grad:
            apart = p.ndim < 2 or id(p) in embeddings or any(part.startswith(outside) for part in name.split("."))
            (rest if apart else hidden).append(p)
    groups = [{"params": hidden, "lr": lr, "muon": True}, {"params": rest, "lr": adam_lr, "muon": False}]
    return Muon([g for g in groups if g["params"]], weight_decay=weight_decay)
