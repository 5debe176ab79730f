"""Threads and devices are chosen from what is really free."""
import math

import pytest
import torch

from canvaslab.lab import device


@pytest.mark.parametrize("files, quota", [
    ({"cpu.max": "150000 100000\n"}, 1.5), ({"cpu.max": "max 100000\n"}, math.inf), ({}, math.inf),
    ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf), ({"cpu.max": "odd"}, math.inf),
])
def test_cgroup_quota(files, quota, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert device._cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize("allowed, idle, number", [(2, 2.0, 2), (8, 0.7, 1), (1, 8.0, 1), (1.5, 4.0, 1), (64, 60.0, 2)])
def test_two_threads_only_where_two_cpus_are_free(allowed, idle, number, monkeypatch):
    monkeypatch.setattr(device, "allowed_cpus", lambda: allowed)
    monkeypatch.setattr(device, "idle_cpus", lambda: idle)
    assert device.threads() == number


def test_the_environment_fixes_the_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert device.set_threads() == 1 == torch.get_num_threads()
    torch.set_num_threads(before)


def test_the_cpu_can_be_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.best_device().type == "cuda"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert device.best_device().type == "cpu" and device.device_name("cpu")
    assert device.allowed_cpus() > 0 and device.idle_cpus(0.01) >= 0
