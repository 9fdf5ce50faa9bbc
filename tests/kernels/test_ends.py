# SPDX-License-Identifier: Apache-2.0
"""The last step of an accumulator in assembly, on emulated cores, and what the stock one is folded into."""

import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import definition
from tflm_export import kernels
from tflm_export.c.dsp_plane_loop import PlaneLoop
from tflm_export.c.epilogue import Sums, fold_stock
from tflm_export.c.pair_plane_loop import PairLoop
from tflm_export.c.plane_walk import strip_kernel
from tflm_export.rescale import Rescale

COUNT = 256
LIMIT = 1 << 31
FOLDER = pathlib.Path(__file__).parent


def saturated(y: int) -> int:
    return max(-128, min(127, y))


def stock(acc: int, multiplier: int, shift: int, zero_point: int) -> int:
    return saturated(definition.stock_rescale(acc, multiplier, shift) + zero_point)


def folded(acc: int, multiplier: int, shift: int, fold: int) -> int:
    """narrow_end_stock_folded, all of whose numbers must fit; assembly doubles the accumulator."""
    product = (acc * multiplier + (1 << 30)) >> 31
    total = product - (acc < 0) + fold
    assert all(-LIMIT <= v < LIMIT for v in (2 * acc, fold, fold - 1, total))
    return saturated(total >> shift)


def draw_channels(rng) -> np.ndarray:
    """start, multiplier, fold, shift and zero point, int64 [5, COUNT]: ties, their neighbours, and extremes."""
    rows = []
    while len(rows) < COUNT:
        shift, zero_point = int(rng.integers(1, 32)), int(rng.choice([-128, -127, -3, 0, 1, 127]))
        multiplier = int(rng.choice([1 << 30, (1 << 30) + 1, LIMIT - 1, rng.integers(1 << 30, LIMIT)]))
        tie = (2 * int(rng.integers(-160, 160)) + 1) << (shift - 1)
        near = tie * LIMIT // multiplier + int(rng.integers(-2, 3))
        extremes = [1 - (1 << 30), -(1 << 29), -1, 0, 1, (1 << 30) - 1, int(rng.integers(1 - (1 << 30), 1 << 30))]
        start = near if rng.random() < 0.8 else int(rng.choice(extremes))
        fold = (1 << (shift - 1)) + (zero_point << shift)
        product = abs(start) * multiplier // LIMIT + 2
        if abs(start) < 1 << 30 and abs(fold) + product < LIMIT:
            rows.append((start, multiplier, fold, shift, zero_point))
    return np.array(rows).T


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m3", "cortex-m4"])
def test_assembly(cpu, tmp_path):
    for module in ("unicorn", "capstone", "elftools", "ziglang"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from benchmarks.emulators import firmware, unicorn_engine

    files = {name: (FOLDER / name).read_bytes() for name in ("ends.c", "ends.h")}
    core = "dsp" if cpu == "cortex-m4" else "v6m"
    planes = "planes_dsp" if core == "dsp" else "pairs_v6m"
    files |= kernels.sources((f"narrow_conv_2d_tiles_{core}.h", f"narrow_depthwise_conv_2d_{planes}.h"))
    macro, made = f"NARROW_DEPTHWISE_CONV_2D_{planes.upper()}", []
    for end in ("SHIFT", "STOCK"):
        dsp = PlaneLoop(end, 1, (((0, None),),), 1, 1, 8, 8, 4, 4, 1)
        pairs = PairLoop(end, 1, 1, 1, 1, 1, 8, 8, 4, 4, 1)
        loop, sizes = (dsp, 12) if core == "dsp" else (pairs, 10)
        made.append(strip_kernel(macro, f"plane_{end.lower()}", end, [0] * sizes, loop.assembly()))
    files["ends_planes.h"] = "\n".join(made).encode()
    built = firmware.link("ends", files, "ends", ("sizeof(ends_input)", "ENDS_OUTPUT_BYTES"), cpu, tmp_path, "zig")
    rng = np.random.default_rng(0)
    channels = [draw_channels(rng) for _ in range(8)]
    channels[0][0, :12] = [-(1 << 30), (1 << 30) - 1, -32769, -32768, -129, -128, -127, 126, 127, 128, 129, 1 << 29]
    channels[0][1, :12], channels[0][2, :12], channels[0][3, :12], channels[0][4, :12] = 1 << 30, 1, 1, 0
    words = np.stack([c[:4].astype("<i4").reshape(-1) for c in channels])
    ran = unicorn_engine.execute(built, ["firmware_infer"], words.view(np.int8), 18 * COUNT)
    for (start, multiplier, _, shift, zero_point), output in zip(channels, ran.outputs, strict=True):
        by_four = output[: 16 * COUNT].reshape(4, COUNT, 4)
        pixels = 4 if core == "dsp" else 2
        right_shift = np.clip(start >> shift, -128, 127)
        given_ = zip(start.tolist(), multiplier.tolist(), shift.tolist(), zero_point.tolist(), strict=True)
        wanted = np.array([stock(*values) for values in given_])
        for got, expected in zip(by_four, (right_shift, right_shift, wanted, wanted), strict=True):
            np.testing.assert_array_equal(got[:, :pixels], np.repeat(expected[:, None], pixels, 1))
        clipped = np.clip(start, -128, 127)
        np.testing.assert_array_equal(output[16 * COUNT :].reshape(2, COUNT), [clipped, clipped >> 1])


_accumulators = st.one_of(st.integers(-(1 << 30), 1 << 30), st.integers(-70000, 70000), st.integers(-300, 300))


@given(
    st.one_of(st.just(0), st.integers(1 << 30, LIMIT - 1)), st.integers(-20, 31), _accumulators, _accumulators,
    st.integers(-128, 127), st.data(),
)  # fmt: skip
def test_fold_stock(multiplier, shift, one, other, zero_point, data):
    """With and without the constant, as TFLM rescales, over all accumulators that a channel can have."""
    low, high = sorted((one, other))
    if shift < 0:
        low, high = low >> -shift, high >> -shift  # a left shift that wraps is not for real layers
    given_ = Rescale(np.array([multiplier]), np.array([shift + 31]))
    got = fold_stock(given_, Sums([low], [0], [low], [high]), zero_point)
    (begin,), (m,), (e,) = got.start.tolist(), got.multiplier.tolist(), got.shift.tolist()
    right = shift if multiplier else 0
    inner = data.draw(st.lists(st.integers(low, high), max_size=8)) if low < high else []
    for acc in (low, high, *inner):
        wanted = stock(acc, multiplier, right, zero_point)
        reached = begin if low == high else acc
        assert stock(reached, m, e, zero_point) == wanted
        if got.fold is not None:
            assert folded(reached, m, e, int(got.fold[0])) == wanted
    if got.fold is None:
        assert right <= 0 or max(-low, high) >= 1 << 21  # none that layers of the usual sizes reach
