"""Two inner loops in LLVM's own language, for which numba has no words: products of bytes by AVX-512 VNNI, prefetch.

`vpdpbusd` multiplies 64 unsigned with 64 signed bytes and adds the products by fours to 16 int32 sums. Codes are
signed; with the top bit flipped they are c + 128, unsigned, and <c + 128, d> = <c, d> + 128 sum(d).
"""

import itertools
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Queries that one vector register holds, of a batch."""

ROWS, GROUPS = 8, 2
"""Of a tile: its 16 registers of sums, the codes and 2 x 16 queries are all there is."""

QUERIES = LANES * GROUPS

_FEATURES = llvmlite.binding.get_host_cpu_features()
HAS_VNNI = bool(_FEATURES.get("avx512vnni") and _FEATURES.get("avx512bw"))
"""Whether this processor has the instruction; without it, nothing here may run."""

_AHEAD = 8192  # bytes between the code that is used and the one that is asked for: some memory latencies
_CGUTILS: Any = cgutils

Typed = tuple[Any, Callable[..., Any]]

_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_BYTES, _SUMS, _FLOATS = ir.VectorType(_I8, 64), ir.VectorType(_I32, LANES), ir.VectorType(_F32, LANES)


def _data(context: Any, builder: Any, signature: Any, args: Any, place: int) -> Any:
    return builder.bitcast(
        context.make_array(signature.args[place])(context, builder, args[place]).data, _I8.as_pointer()
    )


def _load(builder: Any, pointer: Any, offset: Any, kind: Any) -> Any:
    value = builder.load(builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer()))
    value.align = 1
    return value


def _store(builder: Any, value: Any, pointer: Any, offset: int) -> None:
    place = builder.bitcast(builder.gep(pointer, [_I64(offset)]), value.type.as_pointer())
    builder.store(value, place).align = 1


def _dot_bytes(builder: Any) -> Any:
    """vpdpbusd: 64 products of an unsigned and a signed byte, added by fours to 16 sums."""
    return builder.module.declare_intrinsic(
        "llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(_SUMS, [_SUMS, _BYTES, _BYTES])
    )


def _row_product(context: Any, flat: Any, offset: Any, high: Any, low: Any) -> Typed:
    """Return 256 <c + 128, high> + <c + 128, low> of the code at `offset`; the dimension is a multiple of 64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = builder.gep(_data(context, builder, signature, args, 0), [args[1]])
        sides = [_data(context, builder, signature, args, place) for place in (2, 3)]
        dimension = builder.extract_value(context.make_array(signature.args[2])(context, builder, args[2]).shape, 0)
        product = _dot_bytes(builder)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [_I8.as_pointer()], ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        )
        zero = ir.Constant(_SUMS, [0] * LANES)
        sums = [_CGUTILS.alloca_once_value(builder, zero) for _ in sides]
        for total in sums:
            builder.store(zero, total)
        with _CGUTILS.for_range(builder, builder.udiv(dimension, _I64(64))) as loop:
            offset = builder.mul(loop.index, _I64(64))
            signs = ir.Constant(_BYTES, [-128] * 64)
            bytes_ = builder.xor(_load(builder, code, offset, _BYTES), signs)
            ahead = builder.gep(code, [builder.add(offset, _I64(_AHEAD))])
            builder.call(prefetch, [ahead, _I32(0), _I32(3), _I32(1)])
            for total, side in zip(sums, sides, strict=True):
                added = builder.call(product, [builder.load(total), bytes_, _load(builder, side, offset, _BYTES)])
                builder.store(added, total)
        reduce = builder.module.declare_intrinsic("llvm.vector.reduce.add.v16i32", (), ir.FunctionType(_I32, [_SUMS]))
        first, second = (builder.sext(builder.call(reduce, [builder.load(total)]), _I64) for total in sums)
        return builder.add(builder.mul(first, _I64(256)), second)

    return types.int64(flat, offset, high, low), generate


def _tile_bounds(
    context: Any,
    words: Any,
    packed: Any,
    limits: Any,
    factors: Any,
    group: Any,
    steps: Any,
    bounds: Any,
    hits: Any,
) -> Typed:
    """Store the bounds float32 [8, 32] of 8 rows with the 32 queries from `group` on; return whether one is a hit.

    `limits` [Q / 16, 5, 16]: what the shift of the codes added (int32), then scale, grow, add and cut of each query.
    `factors`: the scales of the rows, then their residuals. `hits` uint16 [8, 2]: a bit for each bound above its cut.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arrays = [_data(context, builder, signature, args, place) for place in (0, 1, 2, 3, 6, 7)]
        rows, queries, limits, factors, bounds, hits = arrays
        group, steps = args[4], args[5]
        product = _dot_bytes(builder)
        zero = ir.Constant(_SUMS, [0] * LANES)

        def spread(value: Any, kind: Any) -> Any:
            undefined = ir.Constant(kind, ir.Undefined)
            return builder.shuffle_vector(builder.insert_element(undefined, value, _I32(0)), undefined, zero)

        totals = [[_CGUTILS.alloca_once_value(builder, zero) for _ in range(GROUPS)] for _ in range(ROWS)]
        for total in itertools.chain(*totals):
            builder.store(zero, total)
        group_bytes = builder.mul(steps, _I64(4 * LANES))
        start = builder.mul(group, builder.mul(steps, _I64(4)))
        with _CGUTILS.for_range(builder, steps) as loop:
            step = builder.add(start, builder.mul(loop.index, _I64(4 * LANES)))
            sides = [
                _load(builder, queries, builder.add(step, builder.mul(group_bytes, _I64(side))), _BYTES)
                for side in range(GROUPS)
            ]
            for place, row in enumerate(totals):
                at = builder.mul(builder.add(loop.index, builder.mul(steps, _I64(place))), _I64(4))
                word = builder.bitcast(spread(_load(builder, rows, at, _I32), _SUMS), _BYTES)
                for total, side in zip(row, sides, strict=True):
                    builder.store(builder.call(product, [builder.load(total), word, side]), total)
        lines = builder.mul(builder.udiv(group, _I64(LANES)), _I64(5 * 4 * LANES))
        found = ir.Constant(_I16, 0)
        for side in range(GROUPS):
            shift, scale, grow, add, cut = (
                _load(builder, limits, builder.add(lines, _I64((side * 5 + line) * 4 * LANES)), kind)
                for line, kind in enumerate([_SUMS, _FLOATS, _FLOATS, _FLOATS, _FLOATS])
            )
            for number in range(ROWS):
                row_scale = spread(_load(builder, factors, _I64(4 * number), _F32), _FLOATS)
                residual = spread(_load(builder, factors, _I64(4 * (ROWS + number)), _F32), _FLOATS)
                total = builder.sub(builder.load(totals[number][side]), shift)
                score = builder.fmul(builder.fmul(builder.sitofp(total, _FLOATS), row_scale), scale)
                upper = builder.fadd(builder.fadd(score, builder.fmul(residual, grow)), add)
                place = number * GROUPS + side
                _store(builder, upper, bounds, 4 * LANES * place)
                hit = builder.bitcast(builder.fcmp_ordered(">", upper, cut), _I16)
                _store(builder, hit, hits, 2 * place)
                found = builder.or_(found, hit)
        return builder.icmp_unsigned("!=", found, _I16(0))

    return types.boolean(words, packed, limits, factors, group, steps, bounds, hits), generate


row_product: Any = intrinsic(_row_product)
tile_bounds: Any = intrinsic(_tile_bounds)
