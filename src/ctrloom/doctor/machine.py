"""Checks of the machine: GPU and disk."""

import shutil
import subprocess
from pathlib import Path

from ctrloom.doctor.checks import Check

GB = 10**9


def gpu(required: bool = False) -> Check:
    """Check that PyTorch can use a GPU; a missing or unusable GPU fails the check only if `required`."""
    import torch

    driver = _driver()
    if torch.cuda.is_available():
        try:
            ones = torch.ones(64, 64, device="cuda")
            assert bool(((ones @ ones) == 64).all())
        except RuntimeError as error:
            fix = "the driver or the GPU is incompatible with PyTorch's CUDA version: see nvidia-smi"
            return Check("gpu", "fail", str(error).splitlines()[0], fix)
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found = f"{', '.join(names)}; CUDA {torch.version.cuda}, driver {driver or 'unknown'}"
        return Check("gpu", "ok", found)
    if driver and torch.version.cuda is None:
        found = f"there is a GPU (driver {driver}), but PyTorch {torch.__version__} is a CPU build"
        return Check(
            "gpu", "fail" if required else "warn", found, "install the CUDA build, or use the GPU image"
        )
    if driver:
        found = f"driver {driver}, but PyTorch {torch.__version__} for CUDA {torch.version.cuda} sees no GPU"
        return Check(
            "gpu", "fail" if required else "warn", found, "update the driver; check CUDA_VISIBLE_DEVICES"
        )
    if required:
        fix = "request nvidia.com/gpu, with the node selector and toleration of the GPU nodes"
        return Check("gpu", "fail", "no GPU", fix)
    return Check("gpu", "ok", f"none, not required; {torch.get_num_threads()} CPU threads")


def disk(folder: Path, least: float = 5) -> Check:
    """Check that at least `least` GB are free on the file system of `folder`, which need not exist yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / GB
    if free >= least:
        return Check("disk", "ok", f"{free:,.0f} GB free in {there}")
    fix = "free up space, use another folder, or mount a larger volume"
    return Check("disk", "fail", f"{free:,.1f} GB free in {there}, less than {least:g}", fix)


def _driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if not program:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else None
