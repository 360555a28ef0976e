"""The Triton kernels compile to machine code of GPUs, without one here, and keep their states in registers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="nothing is compiled then")

_FLOATS = {"kept_m", "last_m", "rows_m", "occupancy", "columns_m"}
_DOUBLES = {"normalizers", "bias", "losses", "factors", "columns", "totals"}
_INTS = {"chains", "info", "kept_e", "last_e", "rows_e", "columns_e", "spoiled", "totals_e", "origins", "ends"}
_LONGS = {"targets", "offsets", "input_lengths", "target_lengths", "paths"}

_OPTIONS = {"NORMALIZE": True, "HAS_BIAS": False, "HAS_WILDCARD": False}
_RUN = {**_OPTIONS, "TILED": False, "LANES": 256}
_LONG = {**_OPTIONS, "TILED": True, "LANES": 1024}
_FINISH = {"EVERY_FRAME": False, "STATES": False, "FRAMES": 16, "BLOCK": 32}
_ROWS = {"ROWS": 1, "BLOCK": 2048}
_VITERBI = {"HAS_WILDCARD": False, "TILED": True, "LANES": 1024, "PACKED": 10}


def compile_kernel(kernel: Any, capability: int, warps: int, scores: str, constants: dict[str, Any]) -> Any:
    """The kernel for a GPU of this capability, for scores of this type."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if "F" in kernel.arg_names:
        constants = {**constants, "F": triton.language.float64 if scores == "fp64" else triton.language.float32}
    float_type = "fp64" if scores == "fp64" else "fp32"
    signature = {}
    for name in kernel.arg_names:
        kinds = {"scores": f"*{scores}", "gradient": f"*{scores}", "wildcard_score": "fp32"}
        kinds |= dict.fromkeys(_FLOATS, f"*{float_type}") | dict.fromkeys(_DOUBLES, "*fp64")
        kinds |= dict.fromkeys(_INTS, "*i32") | dict.fromkeys(_LONGS, "*i64") | dict.fromkeys(constants, "constexpr")
        signature[name] = kinds.get(name, "i32")
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})


@pytest.mark.parametrize(
    ("module", "name", "capability", "warps", "scores", "constants"),
    [
        ("gpu_targets", "prepare_kernel", 90, 4, "fp32", {"PADDED": False, "HAS_WILDCARD": True, "BLOCK": 64}),
        ("gpu_rows", "log_normalizers_kernel", 90, 4, "bf16", _ROWS),
        ("gpu_rows", "start_gradient_kernel", 90, 4, "fp16", {**_ROWS, "NORMALIZE": True}),
        ("gpu_recursions", "start_kernel", 80, 8, "fp32", _RUN),
        ("gpu_recursions", "start_kernel", 90, 16, "bf16", _LONG),
        ("gpu_recursions", "meet_kernel", 90, 4, "fp32", {"LANES": 256}),
        ("gpu_recursions", "finish_kernel", 80, 8, "fp32", {**_RUN, **_FINISH}),
        ("gpu_recursions", "finish_kernel", 90, 16, "bf16", {**_LONG, **_FINISH}),
        (
            "gpu_recursions",
            "finish_kernel",
            90,
            2,
            "fp64",
            {**_RUN, **_FINISH, "LANES": 64, "FRAMES": 8, "STATES": True},
        ),
        ("gpu_viterbi", "_viterbi_kernel", 90, 16, "fp32", _VITERBI),
        ("gpu_viterbi", "_trace_kernel", 90, 1, "fp32", {"PACKED": 10}),
    ],
)
def test_compiles(
    module: str, name: str, capability: int, warps: int, scores: str, constants: dict[str, Any], tmp_path: Path
) -> None:
    from importlib import import_module

    kernel = getattr(import_module(f"ctcrec.ctc.{module}"), name)
    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = str(tmp_path)
        compiled = compile_kernel(kernel, capability, warps, scores, constants)
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    # What does not fit registers would go to the stack, in memory.
    assert int(found[2]) <= 64, usage
