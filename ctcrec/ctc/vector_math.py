"""Scalar building blocks of the CPU kernels that LLVM turns into vector code: exp, powers of two, half precision.

Everything here is branch-free arithmetic on one element; written in a loop over an array it vectorizes, which calls to
the C library's exp do not.

Half precision reaches Numba as integers, because NumPy has no bfloat16 and Numba computes no float16 on the CPU:
uint16 stands for bfloat16 and int16 for float16. `widen` and `narrow` convert.
"""

# The bodies given to @overload are typed by Numba, not by mypy.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

__all__ = [
    "NO_EXPONENT",
    "exponent_of",
    "fast_exp",
    "from_ordered_bits",
    "narrow",
    "ordered_bits",
    "power_of_two",
    "widen",
]

# An exponent that stands for the value zero. Sums of a few of these stay far inside int64.
NO_EXPONENT = -(1 << 40)

_FLOAT, _DOUBLE, _HALF = ir.FloatType(), ir.DoubleType(), ir.HalfType()
_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


@intrinsic
def widen(typingctx, x):
    """The element as float32, or float64 if it is float64; uint16 is bfloat16 and int16 is float16."""
    result = types.float64 if x == types.float64 else types.float32

    def codegen(context, builder, signature, args):
        (value,) = args
        if x == types.uint16:
            return builder.bitcast(builder.shl(builder.zext(value, _I32), ir.Constant(_I32, 16)), _FLOAT)
        if x == types.int16:
            return builder.fpext(builder.bitcast(value, _HALF), _FLOAT)
        return value

    return result(x), codegen


@intrinsic
def narrow(typingctx, x, like):
    """`x` (float32 or float64) rounded to nearest in the storage type of the element `like`."""

    def codegen(context, builder, signature, args):
        value = args[0]
        if like == types.float64:
            return value if x == types.float64 else builder.fpext(value, _DOUBLE)
        if x == types.float64:
            value = builder.fptrunc(value, _FLOAT)
        if like == types.float32:
            return value
        if like == types.int16:
            return builder.bitcast(builder.fptrunc(value, _HALF), _I16)
        bits = builder.bitcast(value, _I32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(_I32, 16)), ir.Constant(_I32, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(_I32, 0x7FFF)), odd)
        is_nan = builder.fcmp_unordered("uno", value, value)
        rounded = builder.select(is_nan, ir.Constant(_I32, 0x7FC00000), rounded)
        return builder.trunc(builder.lshr(rounded, ir.Constant(_I32, 16)), _I16)

    return like(x, like), codegen


@intrinsic
def ordered_bits(typingctx, x):
    """An integer that orders like the float `x` (NaN beyond the infinities): compilers vectorize integer maxima."""
    result = types.int64 if x == types.float64 else types.int32

    def codegen(context, builder, signature, args):
        integer, bits = (_I64, 64) if x == types.float64 else (_I32, 32)
        return _flip_negative(builder, builder.bitcast(args[0], integer), integer, bits)

    return result(x), codegen


@intrinsic
def from_ordered_bits(typingctx, bits):
    """The inverse of `ordered_bits`."""
    result = types.float64 if bits == types.int64 else types.float32

    def codegen(context, builder, signature, args):
        integer, size, kind = (_I64, 64, _DOUBLE) if bits == types.int64 else (_I32, 32, _FLOAT)
        return builder.bitcast(_flip_negative(builder, args[0], integer, size), kind)

    return result(bits), codegen


def _flip_negative(builder, value, integer, size):
    sign = builder.ashr(value, ir.Constant(integer, size - 1))
    return builder.xor(value, builder.lshr(sign, ir.Constant(integer, 1)))


@intrinsic
def _add_exponent(typingctx, mantissa, shifted):
    """`mantissa` * 2^n, where `shifted` = n + 1.5 * 2^(significand bits): n stands in the low bits of `shifted`."""

    def codegen(context, builder, signature, args):
        integer, bits = (_I64, 52) if mantissa == types.float64 else (_I32, 23)
        power = builder.shl(builder.bitcast(args[1], integer), ir.Constant(integer, bits))
        return builder.bitcast(builder.add(builder.bitcast(args[0], integer), power), args[0].type)

    return mantissa(mantissa, shifted), codegen


@intrinsic
def exponent_of(typingctx, x):
    """floor(log2 x) of a positive normal float64, as int64; -1023 for zero and subnormal numbers."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], _I64)
        field = builder.and_(builder.lshr(bits, ir.Constant(_I64, 52)), ir.Constant(_I64, 0x7FF))
        return builder.sub(field, ir.Constant(_I64, 1023))

    return types.int64(types.float64), codegen


@intrinsic
def _double_from_exponent(typingctx, exponent):
    def codegen(context, builder, signature, args):
        biased = builder.add(args[0], ir.Constant(_I64, 1023))
        return builder.bitcast(builder.shl(biased, ir.Constant(_I64, 52)), _DOUBLE)

    return types.float64(types.int64), codegen


@numba.njit(inline="always")
def power_of_two(exponent):
    """2^exponent as float64; 0 below the normal range, 2^1023 above it."""
    # A biased exponent of zero is the number zero, so no branch is needed.
    return _double_from_exponent(max(min(exponent, 1023), -1023))


def fast_exp(x):
    """exp(x) for x <= 1 to about one unit in the last place; 0 where the result would be subnormal; NaN for NaN."""
    raise NotImplementedError("compiled code only")


_F = np.float32
_LOG2E = 1.4426950408889634


@overload(fast_exp, jit_options={"fastmath": {"contract"}})
def _fast_exp(x):
    if x == types.float64:
        return _exp_float64
    return _exp_float32


_S_LOG2E, _S_MAGIC, _S_LOWEST, _S_ZERO, _S_ONE = _F(_LOG2E), _F(1.5 * 2**23), _F(-86.5), _F(0), _F(1)
# ln 2 in two parts, the first of few bits, and the polynomial of exp on [-ln2/2, ln2/2] (S. Moshier, Cephes, expf).
_S_LN2_A, _S_LN2_B = _F(0.693359375), _F(-2.12194440e-4)
_S5, _S4, _S3 = _F(1.9875691500e-4), _F(1.3981999507e-3), _F(8.3334519073e-3)
_S2, _S1, _S0 = _F(4.1665795894e-2), _F(1.6666665459e-1), _F(5.0000001201e-1)


def _exp_float32(x):
    y = _S_LOWEST if x < _S_LOWEST else x
    shifted = y * _S_LOG2E + _S_MAGIC
    n = shifted - _S_MAGIC
    r = (y - n * _S_LN2_A) - n * _S_LN2_B
    p = ((((_S5 * r + _S4) * r + _S3) * r + _S2) * r + _S1) * r + _S0
    value = _add_exponent((p * r) * r + r + _S_ONE, shifted)
    return _S_ZERO if x < _S_LOWEST else value


_D_MAGIC, _D_LN2_A, _D_LN2_B = 1.5 * 2**52, 6.93145751953125e-1, 1.42860682030941723212e-6


def _exp_float64(x):
    y = -708.0 if x < -708.0 else x
    shifted = y * 1.4426950408889634 + _D_MAGIC
    n = shifted - _D_MAGIC
    r = (y - n * _D_LN2_A) - n * _D_LN2_B
    # Taylor's series to r^13 / 13!: the next term is below 5e-18 for |r| <= ln2 / 2.
    p = 1.6059043836821613e-10 * r + 2.08767569878681e-09
    p = (p * r + 2.505210838544172e-08) * r + 2.755731922398589e-07
    p = (p * r + 2.7557319223985893e-06) * r + 2.48015873015873e-05
    p = (p * r + 0.0001984126984126984) * r + 0.001388888888888889
    p = (p * r + 0.008333333333333333) * r + 0.041666666666666664
    p = (p * r + 0.16666666666666666) * r + 0.5
    value = _add_exponent((p * r) * r + r + 1.0, shifted)
    return 0.0 if x < -708.0 else value
