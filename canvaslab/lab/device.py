"""Which device, how many threads: chosen from what is really free."""
import math
import os
import platform
import subprocess
import time
from pathlib import Path

import torch


def best_device() -> torch.device:
    """The fastest device here: cuda, else mps, else cpu.

    ``ACCELERATE_USE_CPU=true`` in the environment asks for the CPU, for training and for everything else.
    """
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name(device: torch.device | str | None = None) -> str:
    """Model name of the GPU or of the processor, for stamps; no host name. ``device`` defaults to the best one."""
    device = best_device() if device is None else torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"Apple GPU ({_processor()})" if device.type == "mps" else _processor()


def _processor() -> str:
    try:
        if platform.system() == "Darwin":
            return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
        names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
        return names[0] if names and names[0] not in ("", "unknown") else f"{platform.machine()} CPU"
    except (OSError, subprocess.SubprocessError):
        return platform.processor() or f"{platform.machine()} CPU"


def allowed_cpus() -> float:
    """CPUs this process may use: the smaller of its affinity mask and its cgroup quota (which may be fractional)."""
    try:
        mask = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask
        mask = os.cpu_count() or 1
    return min(mask, _cgroup_quota())


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (root / quota_file).read_text().split()
            if period_file:
                words.append((root / period_file).read_text().strip())
            quota, period = words
            if quota not in ("max", "-1"):
                return int(quota) / int(period)
        except (OSError, ValueError):
            continue
    return math.inf


def idle_cpus(seconds: float = 0.1) -> float:
    """CPUs of the whole machine that nobody else uses now, watched for ``seconds`` while this process sleeps.

    The load average, which remembers a minute and so counts our own previous notebook, is the fallback
    where ``/proc/stat`` does not exist.
    """
    try:
        before = _idle_ticks()
        time.sleep(seconds)
        idle, total = (b - a for a, b in zip(before, _idle_ticks(), strict=True))
        if total > 0:
            return (os.cpu_count() or 1) * idle / total
    except (OSError, ValueError):
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return (os.cpu_count() or 1) - load


def _idle_ticks() -> tuple[int, int]:
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)  # idle and waiting for the disk


def threads() -> int:
    """Threads worth using on the CPU: 2 if two CPUs are really free, else 1.

    Two threads that share one contended core wait for each other: 10 to 100 times slower than one. More than two
    gain nothing for models of this size.
    """
    return 2 if min(allowed_cpus(), idle_cpus()) >= 1.6 else 1


def set_threads(number: int | None = None) -> int:
    """Let torch use ``number`` CPU threads (default: `threads()`; ``OMP_NUM_THREADS`` wins); returns the number."""
    fixed = os.environ.get("OMP_NUM_THREADS", "")
    number = number or (int(fixed) if fixed.isdigit() and int(fixed) > 0 else threads())
    torch.set_num_threads(number)
    return number
