"""CPU time of a fresh interpreter that imports something and ends."""
import resource
import subprocess
import sys
from collections.abc import Sequence

IMPORTS = {
    "nothing": "pass",
    "import canvaslab": "import canvaslab",
    "import diffusers": "import diffusers",
    "import torch": "import torch",
    "canvaslab, to train and sample": "from canvaslab.diffusion import Denoiser, dpmpp_2m, sample; "
                                      "from canvaslab.lab import EMA, recipe_optimizer, train; "
                                      "from canvaslab.nets import UNet; import accelerate",
    "diffusers, to train and sample": "from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel; "
                                      "import accelerate",
}


def seconds(code: str) -> float:
    """CPU seconds, user and system, of a fresh interpreter that runs ``code``."""
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    before = spent()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return spent() - before


def measure(repeats: Sequence[int], imports: dict[str, str] = IMPORTS) -> dict[str, list[float]]:
    """name -> seconds, one a repeat; all once before the first, so that every file is in the disk cache."""
    for code in imports.values():
        seconds(code)
    found: dict[str, list[float]] = {name: [] for name in imports}
    for _ in repeats:
        for name, code in imports.items():
            found[name].append(seconds(code))
    return found
