"""Decoding: from frames to hypotheses."""

from ctcrec.decoding.greedy import greedy_decode
from ctcrec.decoding.joining import join_tokens

__all__ = ["greedy_decode", "join_tokens"]
