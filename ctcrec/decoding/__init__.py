"""Decoding: from frames to hypotheses."""

from ctcrec.decoding.greedy import greedy_decode
from ctcrec.decoding.joining import join_tokens
from ctcrec.decoding.prefix_beam import BeamDecoder

__all__ = ["BeamDecoder", "greedy_decode", "join_tokens"]
