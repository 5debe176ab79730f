"""Laws of the training loop: it resumes to the bit, two processes are one, and it leaves no traces."""
import copy
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from canvaslab.data import Batches
from canvaslab.lab import checkpoint as disk
from canvaslab.lab import progress
from canvaslab.lab.optim import recipe_optimizer
from canvaslab.lab.train import EMA, cosine_decay, mode, train, warmup_flat_decay

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """The laws hold to the last bit on the CPU, also where there is a GPU."""
    from accelerate.state import AcceleratorState
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def make(seed=7):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 8), nn.SiLU(),
                        nn.Linear(8, 2))
    return net, recipe_optimizer(net, lr=0.02, outside=("0", "6")), EMA(net, gamma=3.0)


def noisy(model, batch):
    x = batch[0] if isinstance(batch, (tuple, list)) else batch
    return (model(x + 0.1 * torch.randn_like(x)) - x).square().mean()


def points(n=40):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(3))


def loader():
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(points(22)), batch_size=5, shuffle=True)


def with_own_generator():
    return torch.utils.data.DataLoader(points(22), batch_size=5, shuffle=True,
                                       generator=torch.Generator().manual_seed(5))


FEEDS = {"batches": lambda: Batches((points(),), 8, seed=1), "list": lambda: list(points().split(8)), "loader": loader,
         "own generator": with_own_generator, "function": lambda: lambda n: points(8) * n}


def run(feed, stop=None, folder=None, steps=13, save_every=4):
    net, optimizer, ema = make()
    seen = []
    for step in train(net, FEEDS[feed](), noisy, optimizer, steps, lr=warmup_flat_decay(steps), ema=ema, clip=1.0,
                      checkpoint=folder, save_every=save_every, progress=False):
        torch.rand(1)  # the caller draws, too
        seen.append((step.n, step.loss.item(), step.lr))
        if step.n == stop:
            break
    return net, optimizer, ema, seen


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("feed", FEEDS)
def test_resumed_is_uninterrupted_to_the_last_bit(feed, tmp_path, capsys):
    net, optimizer, ema, seen = run(feed)
    run(feed, stop=10, folder=tmp_path)
    net2, optimizer2, ema2, seen2 = run(feed, folder=tmp_path)
    assert "from step 8 of 13" in capsys.readouterr().out
    assert seen2 == seen[8:] and same(net, net2) and same(ema.model, ema2.model) and ema.n == ema2.n == 13
    for a, b in zip(optimizer.state.values(), optimizer2.state.values(), strict=True):
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000013"]
    assert run(feed, folder=tmp_path)[3] == []


def test_killed_run_resumes_to_the_last_bit(tmp_path):
    code = f"""
        import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
        import test_train as t
        net, optimizer, ema = t.make()
        for _ in t.train(net, t.FEEDS["loader"](), t.noisy, optimizer, 10**9, ema=ema, checkpoint={str(tmp_path)!r},
                         save_every=1, progress=False):
            t.torch.rand(1)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        path = disk.latest(tmp_path)
        if path and int(path.name[5:]) >= 20:
            break
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the child ended by itself"
    done = int(disk.latest(tmp_path).name[5:])
    outcomes = []
    for folder in (tmp_path, None):
        net, optimizer, ema = make()
        for _ in train(net, FEEDS["loader"](), noisy, optimizer, done + 7, ema=ema, checkpoint=folder, progress=False):
            torch.rand(1)
        outcomes.append((net, ema.model))
    assert done >= 20 and all(same(a, b) for a, b in zip(*outcomes, strict=True))


def test_half_written_checkpoints_are_ignored(tmp_path, monkeypatch):
    run("list", stop=5, folder=tmp_path)
    monkeypatch.setattr(disk, "save_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run("list", folder=tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert disk.latest(tmp_path).name == "step-000000004" and len(list(tmp_path.iterdir())) == 2
    assert same(run("list", folder=tmp_path)[0], run("list")[0]) and len(list(tmp_path.iterdir())) == 1


def joint_run(folder):
    """Train in all processes of this launch; the batch of 8 is shared among them."""
    from accelerate import Accelerator
    acc = Accelerator(cpu=True)
    torch.manual_seed(acc.process_index)  # processes start from different weights: those of rank 0 count
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    ema, optimizer = EMA(net), recipe_optimizer(net, lr=0.02)
    batches = Batches((points().double(),), 8 // acc.num_processes, seed=1)

    def clean(model, batch):
        return (model(batch[0]) - batch[0].flip(1)).square().mean()
    for _ in train(net, batches, clean, optimizer, 9, ema=ema, clip=0.5, accelerator=acc, checkpoint=folder,
                   save_every=4, progress=False):
        pass
    draws = acc.gather(torch.rand(1, dtype=torch.float64))
    averages = acc.gather(torch.cat([p.flatten() for p in ema.model.parameters()])[None].contiguous())
    assert all(torch.equal(a, averages[0]) for a in averages), "the EMAs of the processes differ"
    assert len(set(draws.tolist())) == acc.num_processes, "the processes draw the same noise"


def test_two_processes_are_one_with_the_doubled_batch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
                      f"import test_train; test_train.joint_run({str(tmp_path / '2')!r})\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    subprocess.run(launch, check=True, timeout=180, env=os.environ | {"OMP_NUM_THREADS": "1"})
    joint_run(tmp_path / "1")
    for name in ("model", "ema"):
        one, two = (load_file(disk.latest(tmp_path / world) / f"{name}.safetensors") for world in "12")
        assert all(torch.allclose(one[k], two[k], rtol=0, atol=1e-12) for k in one)
    with pytest.raises(ValueError, match="2 processes"):
        net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)).double()
        list(train(net, [points()], noisy, recipe_optimizer(net), 20, checkpoint=tmp_path / "2", progress=False))


def test_ema_is_the_power_function_average():
    net, gamma = nn.Linear(3, 2, dtype=torch.float64), 5.0
    ema, history = EMA(net, gamma), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    for _ in train(net, [points().double()], lambda m, x: m(torch.cat([x, x[:, :1]], 1)).square().mean(), optimizer, 12,
                   ema=ema, progress=False):
        history.append(net.weight.detach().clone())
    k = torch.arange(1, 13, dtype=torch.float64)
    share = (k ** (gamma + 1) - (k - 1) ** (gamma + 1)) / 12 ** (gamma + 1)
    closed = torch.einsum("k,kij->ij", share, torch.stack(history))
    assert share.sum() == pytest.approx(1) and torch.allclose(ema.model.weight, closed, atol=1e-14)
    assert not ema.model.weight.requires_grad and not ema.model.training


def test_ema_copies_buffers():
    net, optimizer, ema = make()
    for _ in train(net, [points()], noisy, optimizer, 3, ema=ema, progress=False):
        assert torch.equal(net[2].running_mean, ema.model[2].running_mean)


def test_steps_are_those_of_a_plain_loop():
    net, optimizer, _ = make()
    ref, ref_optimizer, _ = make()
    lr = cosine_decay(6)
    torch.manual_seed(0)
    seen = list(train(net, FEEDS["list"](), noisy, optimizer, 6, lr=lr, progress=False))
    torch.manual_seed(0)
    base = [g["lr"] for g in ref_optimizer.param_groups]
    for n in range(6):
        for group, rate in zip(ref_optimizer.param_groups, base, strict=True):
            group["lr"] = rate * lr(n)
        value = noisy(ref, FEEDS["list"]()[n % 5])
        ref_optimizer.zero_grad()
        value.backward()
        ref_optimizer.step()
        assert seen[n].loss.item() == value.item() and seen[n].n == n + 1
    assert same(net, ref) and [g["lr"] for g in optimizer.param_groups] == base


class Stop(Exception):
    pass


@pytest.mark.parametrize("way", ["end", "break", "body raises", "loss raises"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_everything_is_as_before_however_it_ends(way, precision):
    from accelerate import Accelerator
    net, optimizer, _ = make()
    net.train()
    net[2].eval()
    modes = [m.training for m in net.modules()]
    attributes, rates = set(vars(net)), [g["lr"] for g in optimizer.param_groups]

    def loss(model, batch):
        if way == "loss raises":
            raise Stop
        return noisy(model, batch)
    try:
        for step in train(net, FEEDS["list"](), loss, optimizer, 3, lr=lambda n: 0.5, progress=False,
                          accelerator=Accelerator(cpu=True, mixed_precision=precision)):
            assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
            assert step.loss.grad_fn is None and net[2].training and step.lr == rates[0] / 2
            assert [g["lr"] for g in optimizer.param_groups] == rates
            if way == "break":
                break
            if way == "body raises":
                raise Stop
    except Stop:
        pass
    assert [m.training for m in net.modules()] == modes
    assert set(vars(net)) == attributes and "forward" not in vars(net) and net(points()).dtype == torch.float32
    assert [g["lr"] for g in optimizer.param_groups] == rates and torch.is_grad_enabled()


def test_eval_mode_left_behind_by_the_caller_does_not_reach_the_training():
    outcomes = []
    for careless in (False, True):
        net, optimizer, _ = make()
        for _ in train(net, FEEDS["list"](), noisy, optimizer, 4, progress=False):
            net.train(not careless)
        outcomes.append(net)
    assert same(*outcomes)


def test_nothing_runs_until_iterated():
    net, optimizer, _ = make()
    before = copy.deepcopy(net)
    train(net, None, None, optimizer, 5)
    assert same(net, before)


def test_mode_restores_each_submodule_after_an_exception():
    net, _, _ = make()
    net.train()
    net[2].eval()
    with pytest.raises(Stop), mode(net, True) as inside:
        assert inside is net and net[2].training
        raise Stop
    assert net.training and not net[2].training and net[3].training


def test_schedules():
    for schedule in (warmup_flat_decay(1000), cosine_decay(1000, end=0.02)):
        values = torch.tensor([schedule(n) for n in range(1000)])
        assert values[29] == 1 and values.max() == 1 and values[-1] == pytest.approx(0.02) and values[0] < 0.04
        assert (values[:30].diff() > 0).all() and (values[30:].diff() <= 1e-7).all()
    flat = warmup_flat_decay(1000)
    assert flat(500) == 1 > flat(501) and flat(749) == pytest.approx(0.51, abs=0.002)
    assert all(0 < warmup_flat_decay(n)(0) <= 1 for n in (1, 2, 3))


@pytest.mark.parametrize("change, sentence", [
    (lambda: (nn.Linear(2, 2), None), "parameters"),
    (lambda: (None, torch.optim.SGD), "optimiser Muon"),
    (lambda: (nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.LayerNorm(8), nn.Dropout(0.3), nn.Linear(8, 8), nn.SiLU(),
                            nn.Linear(8, 2)), None), "absent"),
])
def test_a_checkpoint_of_another_run_gets_one_sentence(change, sentence, tmp_path):
    run("list", folder=tmp_path)
    net, optimizer = change()
    net = net or make()[0]
    optimizer = optimizer(net.parameters(), lr=0.1) if optimizer else recipe_optimizer(net, outside=("0", "6"))
    net.eval()
    with pytest.raises(ValueError, match=sentence):
        next(train(net, FEEDS["list"](), noisy, optimizer, 20, checkpoint=tmp_path, progress=False))
    assert not net.training and "_is_accelerate_prepared" not in vars(net)


def test_the_settings_given_win_over_those_of_the_checkpoint(tmp_path):
    run("list", folder=tmp_path)
    net, optimizer, _ = make()
    optimizer.param_groups[0]["lr"] = 0.5
    step = next(train(net, FEEDS["list"](), noisy, optimizer, 20, checkpoint=tmp_path, progress=False))
    assert step.n == 14 and step.lr == 0.5


def test_a_loss_that_is_not_finite_stops_and_spares_the_checkpoint(tmp_path):
    net, optimizer, _ = make()

    def loss(model, batch):
        return noisy(model, batch) * (float("nan") if bad else 1)
    bad = False
    with pytest.raises(FloatingPointError, match="learning rate"):
        for step in train(net, FEEDS["list"](), loss, optimizer, 8, checkpoint=tmp_path, save_every=2, progress=False):
            bad = step.n >= 4
    assert disk.latest(tmp_path).name == "step-000000004"


@pytest.mark.parametrize("batches, sentence", [(iter([points()]), "ran out"), ([points()], "scalar")])
def test_wrong_batches_and_losses_get_one_sentence(batches, sentence):
    net, optimizer, _ = make()
    loss = noisy if sentence == "ran out" else (lambda m, x: m(x))
    with pytest.raises(ValueError, match=sentence):
        list(train(net, batches, loss, optimizer, 3, progress=False))


def test_live_line_and_picture_in_a_notebook_do_not_disturb_the_training(monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, bundle, metadata, raw):
            shown.append(bundle)

    def display(bundle, metadata, raw, display_id):
        shown.append(bundle)
        return Handle()

    def watch(n):
        from matplotlib import pyplot
        assert not net.training
        torch.rand(3)
        figure, axes = pyplot.subplots(figsize=(1, 1))
        axes.plot(torch.rand(2))
        return figure
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(progress, "REDRAW", 0.0)
    outcomes = []
    for pictures in (None, watch):
        net, optimizer, _ = make()
        for _ in train(net, FEEDS["list"](), noisy, optimizer, 5, watch=pictures, watch_every=0.0):
            pass
        outcomes.append(net)
    assert same(*outcomes) and capsys.readouterr() == ("", "")
    lines = [s["text/plain"] for s in shown if "image/png" not in s]
    assert "5/5" in lines[-1] and "loss" in lines[-1] and "step/s" in lines[-1]
    pictures = [s for s in shown if "image/png" in s]
    assert len(pictures) == 6 and pictures[-1]["text/plain"] == "[figure: live picture, at step 5 of 5]"
    from matplotlib import pyplot
    assert not pyplot.get_fignums()
