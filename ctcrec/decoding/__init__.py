"""Decoding: from frames to hypotheses. What is here is imported when it is first used, for greedy decoding needs no
compiled code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctcrec.decoding.greedy import greedy_decode
    from ctcrec.decoding.joining import join_tokens
    from ctcrec.decoding.prefix_beam import BeamDecoder

__all__ = ["BeamDecoder", "greedy_decode", "join_tokens"]

_HOMES = {"BeamDecoder": "prefix_beam", "greedy_decode": "greedy", "join_tokens": "joining"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"ctcrec.decoding.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ctcrec.decoding' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
