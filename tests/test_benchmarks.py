"""Laws of the benchmarks: equal seconds, ratios by hand, one sentence for a missing peer, solvers that agree."""

import itertools
import json
import math
import time
from pathlib import Path

import pytest
import torch

from benchmarks import imports, report, sampling, training
from benchmarks.peers import ABLATION, PEERS, Arm, Peer, missing
from canvaslab.diffusion import Mixture, euler, heun, noise

FOLDER = Path(training.__file__).parent


def busy(seconds):
    def make(share):
        def steps():
            while True:
                until = time.process_time() + seconds
                while time.process_time() < until:
                    pass
                yield share()
        return Arm(steps(), None, 1, torch.nn.Identity())
    return make


def test_every_arm_gets_the_same_seconds_in_turn():
    ran = training.race({"quick": busy(0.004), "slow": busy(0.02)}, budget=0.2, block=0.05)
    for step, (_, clock) in zip((0.004, 0.02), ran.values(), strict=True):
        assert 0.2 <= clock.spent < 0.2 + 5 * step
        assert clock.share() == clock.spent / 0.2
    assert ran["quick"][1].steps > 2 * ran["slow"][1].steps


def test_an_arm_draws_the_same_numbers_beside_any_others():
    def arm(drawn):
        def steps():
            while True:
                time.sleep(0)
                drawn.append(torch.rand(()).item())
                yield
        return lambda share: Arm(steps(), None, 1, torch.nn.Identity())

    alone, first, second = [], [], []
    training.race({"a": arm(alone)}, 0.02)
    training.race({"a": arm(first), "b": arm(second)}, 0.02, block=0.005)
    same = min(len(alone), len(first))
    assert same > 3 and alone[:same] == first[:same]


def test_ratios_are_paired_and_geometric():
    ratio = report.ratio([2.0, 8.0], [1.0, 1.0])
    assert ratio.mean == pytest.approx(4) and (ratio.low, ratio.high) == (2, 8)
    assert report.ratio([1, 1], [2, 8]).mean == pytest.approx(1 / ratio.mean)
    for bad in (([1.0], [1.0, 2.0]), ([], []), ([0.0], [1.0]), ([math.nan], [1.0])):
        with pytest.raises(ValueError, match="accepted: equally many positive numbers"):
            report.ratio(*bad)


def test_the_cost_at_an_error_is_exact_on_a_power_law():
    curve = [(n, n**-2.0) for n in (5, 7, 10, 16)]
    assert sampling.at_error(curve, 1 / 81) == pytest.approx(9)
    assert sampling.at_error(curve, 0.5) == 5  # the first measured point is good enough
    assert math.isnan(sampling.at_error(curve, 1e-6))


@pytest.mark.parametrize(("ours", "theirs"), [(euler, "Euler"), (heun, "Heun")])
def test_our_loop_around_their_schedulers_solves_the_same_equation(ours, theirs):
    exact = Mixture(torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0)), std=0.3)
    start = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    a = sampling.run_ours(lambda: ours, noise.karras, exact, start, 12)
    b = sampling.run_theirs(*sampling.THEIRS[f"{theirs}, Karras"], exact, start, 12)
    torch.testing.assert_close(a, b, rtol=0, atol=2e-3)


def test_a_missing_peer_is_one_sentence_and_the_others_run():
    sentence = missing(Peer(None, {}, needs="no_such_peer"))
    assert "no-such-peer is not installed" in sentence and "pip install" in sentence
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence
    assert missing(PEERS["diffusers"]) is None


def test_the_race_runs_and_its_page_says_what_happened():
    tiny = {"widths": (8, 16), "batch": 4, "levels": 2}
    peers = {name: Peer(PEERS[name].make, PEERS[name].settings | tiny)
             for name in ("canvaslab", "diffusers", ABLATION)}
    part = training.measure(training.Judge(20, reference=500), 0.2, range(2), peers | {
        "absent": Peer(None, {}, needs="no_such_peer")})
    assert list(part["arms"]) == list(peers) and list(part["missing"]) == ["absent"]
    for arm in part["arms"].values():
        assert len(arm["distance"]) == 2 and all(math.isfinite(far) and far > 0 for far in arm["distance"])
        assert all(seconds >= 0.2 for seconds in arm["cpu_seconds"])
        for speed, steps, seconds in zip(arm["images/s"], arm["steps"], arm["cpu_seconds"], strict=True):
            assert speed * seconds == pytest.approx(4 * steps)
    page = report.training(json.loads(json.dumps(part)))
    assert "no-such-peer is not installed" in page and page.count("not yet recognisable") >= 2


def test_an_import_that_works_takes_time():
    found = imports.measure(range(2), {"light": "pass", "heavy": "import json, decimal, email.message"})
    assert [len(values) for values in found.values()] == [2, 2]
    assert min(found["heavy"]) > 0


def test_the_committed_page_is_that_of_the_committed_results():
    results = json.loads((FOLDER / "results.json").read_text())
    assert list(results) == list(report.PARTS)
    assert (FOLDER / "README.md").read_text() == report.page(results)
    spent = list(itertools.chain.from_iterable(arm["cpu_seconds"] for arm in results["training"]["arms"].values()))
    budget = results["training"]["budget"]
    assert all(budget <= seconds < 1.05 * budget for seconds in spent)
