"""The origin of a result: code, libraries, machine, models, prompts. A latency without them is noise.

Left out on purpose, because run folders get published: host and user names, environment variables and the command
line. Where the home folder lies is masked when the record is written (`cdeval.store.private`).
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from cdeval import __version__
from cdeval.store.strict_json import plain

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "mauve-text",
    "hydra-core",
    "sentence-transformers",
    "numpy",
    "scipy",
)


def provenance(model_facts: Mapping[str, object], prompts_digest: str, plugins: Sequence[object]) -> dict[str, object]:
    """Collect what is needed to tell two results apart, as JSON types; what cannot be found out is left out.

    Reads package metadata instead of importing, and asks torch only if the process has loaded it, so it takes well
    under a second. Call it after the models are loaded: what torch then runs on is known.

    Args:
        model_facts: names, digests, dtype, device, … of the models.
        prompts_digest: of the prompts' token ids.
        plugins: users' modules that are loaded (`cdeval.config.plugins.loaded_plugins`).
    """
    torch = sys.modules.get("torch")
    return {
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "cdeval": {"version": __version__, **_own_checkout()},
        "libraries": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "machine": _machine(),
        "gpu": _gpus(torch) if torch else None,
        "numerics": _numerics(torch) if torch else None,
        "models": plain(model_facts),
        "prompts_digest": prompts_digest,
        "plugins": plain(plugins),
    }


def identity(record: Mapping[str, Any]) -> dict[str, object]:
    """Select from what `provenance` found what can change the last bit of a number, and so a bfloat16 text, by name."""
    models, numerics, gpu = (record.get(part) or {} for part in ("models", "numerics", "gpu"))
    libraries = {name: record["libraries"].get(name) for name in ("torch", "transformers")}
    names = ("threads", "interop_threads", "float32_matmul_precision", "deterministic_algorithms", "cpu_capability")
    return {
        "dtype": models.get("dtype"),
        "device": models.get("device"),
        "cpu": record["machine"]["cpu"],
        "gpu": gpu.get("names"),
        "cuda": gpu.get("cuda"),
        **libraries,
        **{name: numerics.get(name) for name in names},
        # Who decodes counts: the threads of a worker, where there are workers, not those of the process beside them.
        **{name: value for name, value in (models.get("workers") or {}).items() if name == "threads"},
    }


def differing(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Say in words what differs between two identities; what one of them does not know is no difference."""
    both = [name for name in now if before.get(name) is not None and now[name] is not None]
    return [f"{name} {before[name]}, now {now[name]}" for name in both if before[name] != now[name]]


@cache  # a sweep writes one record a point
def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


@cache  # what the process has imported stays as it is; git takes milliseconds a point
def _own_checkout() -> dict[str, object]:
    return _checkout(Path(__file__).resolve().parents[2])


def _checkout(root: Path) -> dict[str, object]:
    """Commit of cdeval's own checkout, and whether `cdeval/` or `conf/` differ from it; None where there is none.

    The test on pyproject.toml keeps an installed cdeval from reporting the repository of the project around it.
    """
    unknown: dict[str, object] = {"commit": None, "dirty": None}
    try:
        if not (root / ".git").exists() or 'name = "cdeval"' not in (root / "pyproject.toml").read_text("utf-8"):
            return unknown
        # A git hook's variables would point git at another repository; its locks could disturb the user's own git.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ["git", "--no-optional-locks", "-C", str(root), "status", "--porcelain=v2", "--branch"]
        output = subprocess.run(  # noqa: S603 - a fixed command
            [*command, "--", "cdeval", "conf"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
            check=True,
        ).stdout.decode("utf-8", "replace")
    except (OSError, UnicodeError, subprocess.SubprocessError):
        return unknown
    commit = re.search(r"^# branch\.oid ([0-9a-f]{40,64})$", output, re.MULTILINE)
    changes = [line for line in output.splitlines() if not line.startswith("#")]
    return {"commit": commit[1], "dirty": bool(changes)} if commit else unknown


def _machine() -> dict[str, object]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(),
        "cores_usable": usable,
        "memory_bytes": psutil.virtual_memory().total,
    }


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except (OSError, UnicodeError):
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _gpus(torch: ModuleType) -> dict[str, object] | None:
    """The GPUs that torch may use. Only asked once CUDA has been started: starting it takes memory on every GPU."""
    if not torch.cuda.is_available():
        return None
    started = torch.cuda.is_initialized()
    return {
        "names": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if started else None,
        "count": torch.cuda.device_count(),
        "driver": _driver(),
        "cuda": torch.version.cuda or torch.version.hip,
    }


def _driver() -> str | None:
    try:
        found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", Path("/proc/driver/nvidia/version").read_text("utf-8"))
    except (OSError, UnicodeError):
        return None
    return found[0] if found else None


def _numerics(torch: ModuleType) -> dict[str, object]:
    """Switches of the process that change speed or the last digits."""
    return {
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "interop_threads": torch.get_num_interop_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
    }
