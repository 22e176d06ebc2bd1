"""Eight by eight blocks of matrices, held in registers: the inner loops of the fit's linear algebra.

Convention: matrices are C-contiguous float64 whose sides are multiples of `SIDE`; places are given as row and column
of a block's first element. A block is eight vectors of eight numbers; the code generator turns a vector into what the
processor has (one register of AVX-512, two of AVX2, four of NEON), so there is one source and no remainder loop.
Compilers vectorise short triangular loops poorly; written this way the same sums take half the time or less.

The trap: nothing is checked. A side that is no multiple of eight reads and writes past the array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from spinemed.compiled import intrinsic, njit, register_jitable

__all__ = ["SIDE", "add_block", "invert_block", "multiply_block", "padded", "subtract_block"]

_F = NDArray[np.float64]

SIDE = 8

_VECTOR = ir.VectorType(ir.DoubleType(), SIDE)
_INT = ir.IntType(64)


@register_jitable
def padded(size: int) -> int:
    """The next multiple of `SIDE`."""
    return -(-size // SIDE) * SIDE


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Pointer to the first element of an array argument."""
    return context.make_array(kind)(context, builder, value).data


def _vector_at(builder: Any, pointer: Any, offset: Any) -> Any:
    """Pointer to eight numbers from an offset in elements."""
    return builder.bitcast(builder.gep(pointer, [offset]), _VECTOR.as_pointer())


def _spread(builder: Any, number: Any) -> Any:
    """A vector that holds a number eight times."""
    single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), SIDE), [0] * SIDE)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), zeros)


def _fused(builder: Any) -> Any:
    """The multiply-add that is fused where the processor can."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{SIDE}f64")


def _block_product(start: str, sign: float) -> Any:
    """A kernel for one block: (c or 0) +- sum over k of a[k, i] b[k, j]."""

    @intrinsic
    def kernel(typing: Any, c: Any, at: Any, step: Any, a: Any, a_at: Any, a_step: Any, a_next: Any,
               b: Any, b_at: Any, b_step: Any, depth: Any) -> Any:  # fmt: skip
        signature = types.void(c, *[types.intp] * 2, a, *[types.intp] * 3, b, *[types.intp] * 3)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (c_, at_, step_, a_, a_at_, a_step_, a_next_, b_, b_at_, b_step_, depth_) = arguments
            kinds = signature.args
            c_data = _data(context, builder, kinds[0], c_)
            a_data = builder.gep(_data(context, builder, kinds[3], a_), [a_at_])
            b_data = builder.gep(_data(context, builder, kinds[7], b_), [b_at_])
            places = [
                _vector_at(builder, c_data, builder.add(at_, builder.mul(step_, ir.Constant(_INT, row))))
                for row in range(SIDE)
            ]
            zero = ir.Constant(_VECTOR, [0.0] * SIDE)
            first = [builder.load(place, align=8) if start == "c" else zero for place in places]
            rows = [builder.mul(a_next_, ir.Constant(_INT, row)) for row in range(SIDE)]
            fused = _fused(builder)
            before = builder.basic_block
            loop, done = builder.append_basic_block("block.loop"), builder.append_basic_block("block.done")
            builder.cbranch(builder.icmp_signed(">", depth_, ir.Constant(_INT, 0)), loop, done)
            builder.position_at_end(loop)
            k = builder.phi(_INT)
            k.add_incoming(ir.Constant(_INT, 0), before)
            sums = [builder.phi(_VECTOR) for _ in range(SIDE)]
            line = builder.load(_vector_at(builder, b_data, builder.mul(k, b_step_)), align=8)
            if sign < 0:
                line = builder.fneg(line)
            column = builder.gep(a_data, [builder.mul(k, a_step_)])
            added = []
            for row in range(SIDE):
                factor = _spread(builder, builder.load(builder.gep(column, [rows[row]])))
                added.append(builder.call(fused, [factor, line, sums[row]]))
                sums[row].add_incoming(first[row], before)
                sums[row].add_incoming(added[row], loop)
            following = builder.add(k, ir.Constant(_INT, 1))
            k.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth_), loop, done)
            builder.position_at_end(done)
            for row in range(SIDE):
                total = builder.phi(_VECTOR)
                total.add_incoming(first[row], before)
                total.add_incoming(added[row], loop)
                first[row] = total
            for place, total in zip(places, first, strict=True):
                builder.store(total, place, align=8)
            return context.get_dummy_value()

        return signature, generate

    return kernel


_add = _block_product("c", 1.0)
_subtract = _block_product("c", -1.0)
_multiply = _block_product("0", 1.0)

_fast = njit(cache=True, nogil=True)


@_fast
def add_block(c: _F, i: int, j: int, a: _F, b: _F, depth: int) -> None:
    """c[i:i+8, j:j+8] += a[:depth, i:i+8]' b[:depth, j:j+8]."""
    _add(c, i * c.shape[1] + j, c.shape[1], a, i, a.shape[1], 1, b, j, b.shape[1], depth)


@_fast
def subtract_block(c: _F, i: int, j: int, a: _F, b: _F, depth: int) -> None:
    """c[i:i+8, j:j+8] -= a[:depth, i:i+8]' b[:depth, j:j+8]."""
    _subtract(c, i * c.shape[1] + j, c.shape[1], a, i, a.shape[1], 1, b, j, b.shape[1], depth)


@_fast
def multiply_block(c: _F, i: int, j: int, a: _F, k: int, b: _F, m: int, depth: int) -> None:
    """c[i:i+8, j:j+8] = a[k:k+8, m:m+depth] b[m:m+depth, j:j+8]."""
    _multiply(
        c, i * c.shape[1] + j, c.shape[1], a, k * a.shape[1] + m, 1, a.shape[1],
        b, m * b.shape[1] + j, b.shape[1], depth,
    )  # fmt: skip


@intrinsic
def invert_block(typing: Any, a: Any) -> Any:
    """Replace a symmetric a [8, 8] by its inverse (Gauss-Jordan without pivoting); False unless positive definite."""
    signature = types.boolean(a)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _data(context, builder, signature.args[0], arguments[0])
        places = [_vector_at(builder, data, ir.Constant(_INT, SIDE * row)) for row in range(SIDE)]
        rows = [builder.load(place, align=8) for place in places]
        fused = _fused(builder)
        good: Any = ir.Constant(ir.IntType(1), 1)
        for p in range(SIDE):
            here = ir.Constant(ir.IntType(32), p)
            pivot = builder.extract_element(rows[p], here)
            good = builder.and_(good, builder.fcmp_ordered(">", pivot, ir.Constant(ir.DoubleType(), 0.0)))
            inverse = builder.fdiv(ir.Constant(ir.DoubleType(), 1.0), pivot)
            line = builder.insert_element(rows[p], ir.Constant(ir.DoubleType(), 1.0), here)
            line = builder.fmul(line, _spread(builder, inverse))
            rows[p] = line
            for i in range(SIDE):
                if i != p:
                    factor = _spread(builder, builder.fneg(builder.extract_element(rows[i], here)))
                    cleared = builder.insert_element(rows[i], ir.Constant(ir.DoubleType(), 0.0), here)
                    rows[i] = builder.call(fused, [factor, line, cleared])
        for place, row in zip(places, rows, strict=True):
            builder.store(row, place, align=8)
        return good

    return signature, generate
