"""Which lower precisions a device computes in, rather than imitates."""

from __future__ import annotations

import torch

__all__ = ["has_bfloat16"]


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster there than float32: on a GPU, and on a CPU with AVX512-BF16 or AMX."""
    if device.type != "cpu":
        return True
    tell = getattr(torch.cpu, "get_capabilities", dict)  # PyTorch's earlier versions do not
    capabilities: dict[str, object] = tell()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
