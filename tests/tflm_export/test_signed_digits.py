# SPDX-License-Identifier: Apache-2.0
"""The grid of two signed digits against exact fractions, and what the exporter makes of it."""

import itertools
import json
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.helpers import native, peer, runtimes
from tests.helpers.programs import assert_equals_simulator
from tests.helpers.signed_digits import mantissas, off_csd2
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import METHODS, UsageError, check, metadata, narrow
from tflm_export.__main__ import main
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import grid_of
from tflm_export.signed_digits import CSD2, DISTANCE
from tflm_export.simulator import simulate

POINTS = mantissas(2, DISTANCE)  # by trying all sums of two digits: 1, 9/8, 5/4, 3/2, 7/4, 2
OCTAVE = [point for point in POINTS if point < 2]
TOLERANCE = Fraction(1, 2**21)  # relative: what counts as on the grid
SMALLEST, LARGEST = Fraction(5e-324), Fraction(sys.float_info.max)

factors = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_subnormal=True)
roundings = st.sampled_from(["nearest", "up", "down"])


def neighbours(factor: float) -> dict[str, Fraction]:
    """The points next to a factor, by rounding; from fractions alone."""
    exact = Fraction(factor)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    points = [point * Fraction(2) ** i for point in OCTAVE for i in range(exponent - 2, exponent + 3)]
    low, high = max(p for p in points if p <= exact), min(p for p in points if p >= exact)
    return {"nearest": low if exact - low < high - exact else high, "up": high, "down": low}


def on_grid(factor: float) -> bool:
    nearest = neighbours(factor)["nearest"]
    distance, limit = abs(nearest - Fraction(factor)), TOLERANCE * Fraction(factor)
    assume(abs(distance - limit) > max(SMALLEST, limit / 2**30))  # float64 can tell unless they are next to one another
    return distance <= limit and nearest <= LARGEST


def test_every_point_is_a_sum_of_two_digits():
    """And there is no other: an odd m of the form 2**d +- 1 with d up to 3."""
    forms = {(1 << d) + sign for d in range(1, DISTANCE + 1) for sign in (-1, 1)}
    assert {Fraction(m, 1 << (m.bit_length() - 1)) for m in forms} == {*OCTAVE}
    assert 1 << DISTANCE < max(forms) < 1 << CSD2.bits
    for exponent in (-1074, -1021, -149, -1, 0, 7, 1021, 1023):
        points = np.ldexp(np.array(OCTAVE, np.float64), exponent)
        points = points[
            [Fraction(float(p)) == o * Fraction(2) ** exponent for p, o in zip(points, OCTAVE, strict=True)]
        ]
        for rounding in ("nearest", "up", "down"):
            np.testing.assert_array_equal(CSD2.snap(points, rounding), points)


@given(factors, roundings)
@example(sys.float_info.max, "down")  # the nearest is out of range, what is asked for is not
@example(sys.float_info.min, "nearest")
@example(5e-324, "up")
@example(math.nextafter(sys.float_info.min, 0), "down")
@example(1.9, "nearest")  # carries
@example(1.76, "up")  # carries
@example(1.875, "nearest")  # ties: the larger
@example(1.375, "nearest")
@example(1.0625, "nearest")
@example(math.nextafter(1.0625, 0), "nearest")
@example(math.nextafter(1.5, 2), "up")  # on the grid already
def test_snap_is_the_exact_rounding(factor, rounding):
    wanted = neighbours(factor)["nearest" if on_grid(factor) else rounding]
    assume(wanted <= LARGEST)
    snapped = float(CSD2.snap(factor, rounding))
    assert snapped == float(wanted)
    if wanted >= Fraction(sys.float_info.min) * 8:
        assert Fraction(snapped) == wanted


def test_no_rounding_is_worse_than_stated():
    """1/11 to nearest and 1/5 upwards, at the gap from 5/4 to 3/2, and nowhere more."""
    middles = [(low + high) / 2 for low, high in itertools.pairwise(POINTS)]
    nearest = [abs(Fraction(float(CSD2.snap(float(m)))) / m - 1) for m in middles]
    assert max(nearest) == Fraction(1, 11) == nearest[2]
    above = [Fraction(math.nextafter(float(point), 3) + 2.0**-20) for point in OCTAVE]
    up = [Fraction(float(CSD2.snap(float(a), "up"))) / a - 1 for a in above]
    assert max(up) == up[2]
    assert Fraction(1, 5) * (1 - TOLERANCE * 16) < up[2] < Fraction(1, 5)


@given(factors)
@example(1.125 * (1 + 2.0**-22))
@example(1.125 * (1 + 2.0**-20))
@example(1.625)
@example(sys.float_info.max)
def test_contains_what_is_within_the_tolerance(factor):
    assert bool(CSD2.contains(factor)) == on_grid(factor)


@given(st.sampled_from(OCTAVE), st.integers(-28, 20), st.floats(-4 * 2.0**-24, 4 * 2.0**-24))
def test_recover_gives_back_the_odd_multiplier(point, exponent, noise):
    meant = point * Fraction(2) ** exponent
    factor = float(meant) * (1 + noise)
    for found in (CSD2.recover(factor), CSD2.recover_held(factor), CSD2.recover_held(factor, widest=15)):
        multiplier = int(found.multiplier)
        assert multiplier % 2 == 1
        assert multiplier * Fraction(2) ** -int(found.shift) == meant
        distance, negative = CSD2.digits(multiplier)
        assert 0 <= distance <= DISTANCE
        assert (1 << int(distance)) + (-1 if negative else 1) == multiplier


@given(st.floats(2.0**-30, 2.0**10))
def test_recover_held_does_not_round_what_was_not_narrowed(factor):
    assume(not grid_of(16).contains(factor))
    found = CSD2.recover_held(factor)
    assert abs(Fraction(float(found.value)) / Fraction(factor) - 1) <= Fraction(1, 2**31)


def test_arrays_zeros_and_dead_channels():
    array = np.array([[0.0, 0.3, 1.3], [2.0**-40, 1.7, 0.0]])
    np.testing.assert_array_equal(CSD2.snap(array, "up"), [[0, 0.3125, 1.5], [2.0**-40, 1.75, 0]])
    np.testing.assert_array_equal(CSD2.snap(array, "down"), [[0, 0.28125, 1.25], [2.0**-40, 1.5, 0]])
    found = CSD2.recover(array)
    np.testing.assert_array_equal(found.multiplier, [[0, 5, 5], [0, 7, 0]])  # the runtimes flush 2**-40 to 0
    distance, negative = CSD2.digits(found.multiplier)
    np.testing.assert_array_equal((1 << distance) + np.where(negative, -1, 1), found.multiplier)


def test_what_it_cannot_do_is_said():
    with pytest.raises(UsageError, match="make multipliers of 0, 1, 3, 5, 7, 9, not of 11"):
        CSD2.digits([3, 11])
    with pytest.raises(UsageError, match="rounding must be one of nearest, up, down, got 'even'"):
        CSD2.snap(1.0, "even")
    with pytest.raises(ValueError, match="finite and not negative, got -1"):
        CSD2.snap([1.0, -1.0])
    with pytest.raises(UsageError, match="the name of a grid, csd2; got 'csd3'"):
        grid_of("csd3")
    assert grid_of("csd2") is CSD2
    assert (str(CSD2), CSD2.name) == ("two signed digits", "csd2")


NETWORK = residual_network(batch=1)


def factors_of(data: bytes) -> list[Fraction]:
    return [f for operator in peer.operators(data) if operator.rescales for f in operator.factors]


@pytest.mark.parametrize("method", METHODS)
def test_narrow_by_name(method):
    narrowed, report = narrow(NETWORK, "csd2", method)
    assert report.offenders == check(narrowed, "csd2").offenders == ()
    assert max(map(off_csd2, factors_of(narrowed))) < 2.0**-21
    assert max(map(off_csd2, factors_of(NETWORK))) > 0.01
    assert narrow(narrowed, "csd2", method)[0] == narrowed
    assert report.grid is CSD2
    assert {(row["grid"], row["bits"]) for row in report.to_dict()["rows"]} == {("csd2", 4)}
    assert check(narrowed, 3).offenders  # 9 is among the multipliers
    assert not check(narrowed, 4).offenders
    assert check(narrow(NETWORK, 4, method)[0], "csd2").offenders  # and 11, 13 or 15 there
    assert narrowed != narrow(NETWORK, 4, method)[0]


@pytest.mark.sweep(3)
@native.requires_gcc
@pytest.mark.parametrize("core", ["portable", "cortex-m4", "cortex-m0plus"])
def test_the_c_program_computes_the_simulators_integers(core):
    assert_equals_simulator(narrow(NETWORK, "csd2")[0], "csd2", "narrow", core=core)


def dense() -> bytes:
    b = TFLiteBuilder(3)
    x = b.input([1, 24])
    return b.build(x, b.fully_connected(x, 9, name="dense"))


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_is_two_shifts_and_an_addition(method):
    """The simulator's integers from the metadata's alone, as hardware would make them."""
    narrowed, report = narrow(dense(), "csd2", method)
    entry = metadata.dump(metadata.attach(narrowed, report))
    assert (entry["grid"], entry["bits"]) == ("csd2", 4)
    (described,) = entry["operators"]
    assert described["grid"] == "csd2"
    (operator,) = peer.operators(narrowed)
    (m,), (s,) = described["multiplier"], described["shift"]
    distance, negative = map(int, CSD2.digits(m))
    inputs, outputs = parse(narrowed).subgraphs[0].inputs[0], parse(narrowed).subgraphs[0].outputs[0]
    weights, bias = (t.data.astype(np.int64) for t in parse(narrowed).subgraphs[0].operators[0].inputs[1:])
    x = np.random.default_rng(0).integers(-128, 128, (50, 24)).astype(np.int8)
    accumulators = (x.astype(np.int64) - inputs.zero_point) @ weights.T + bias
    expected = [
        [max(-128, min(127, outputs.zero_point + (((a << distance) + (-a if negative else a) + (1 << s - 1)) >> s)))
         for a in row]
        for row in accumulators.tolist()
    ]  # fmt: skip
    assert abs(Fraction(m, 1 << s) / operator.factors[0] - 1) < 2.0**-21
    np.testing.assert_array_equal(simulate(narrowed, x, "narrow", "csd2").outputs[0], expected)


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_stock_runtimes_take_the_file_as_it_is(runtime):
    narrowed = metadata.attach(*narrow(NETWORK, "csd2"))
    assert not runtimes.differences(narrowed, runtimes.random_rows(parse(narrowed), 3), runtime)


def test_metadata_of_bits_says_nothing_of_grids():
    entry = metadata.dump(metadata.attach(*narrow(NETWORK, 4)))
    assert not any("grid" in part for part in (entry, *entry["operators"]))


def test_single_operators_take_it_by_name():
    rules = {"^stem$": "csd2", "op:ADD": {"grid": "csd2", "method": "requantize"}}
    narrowed, report = narrow(NETWORK, 1, rules=rules)
    assert report.offenders == ()
    named = [operator for operator in peer.operators(narrowed) if operator.rescales]
    assert {row.op for row in report.rows if row.grid is CSD2} == {"CONV_2D", "ADD"}
    for operator, row in zip(named, report.rows, strict=True):
        assert max(map(off_csd2, operator.factors)) < 2.0**-21
        assert row.grid is CSD2 or max(peer.off_grid(f, 1) for f in operator.factors) < 2.0**-21
    entry = metadata.dump(metadata.attach(narrowed, report))
    assert "grid" not in entry
    assert [op.get("grid") for op in entry["operators"]] == [
        row.grid.name if row.grid is CSD2 else None for row in report.rows
    ]
    with pytest.raises(UsageError, match="rule 'stem' has bits and a grid, which exclude each other"):
        narrow(NETWORK, 1, rules={"stem": {"bits": 4, "grid": "csd2"}})
    with pytest.raises(UsageError, match=r"rule 'stem': bits must be .* the name of a grid, csd2; got 'csd9'"):
        narrow(NETWORK, 1, rules={"stem": {"grid": "csd9"}})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "model.tflite").write_bytes(NETWORK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return main(["tflm_export", *arguments])


def test_the_command_line(folder, capsys):
    (folder / "mixed.json").write_text(json.dumps({"stem": {"grid": "csd2"}}))
    assert run("--grid=csd2", "--report=report.json", "--cc_array=array", "--c_source=c", "model.tflite") == 0
    assert "operators with a rescale are of two signed digits; " in capsys.readouterr().out
    narrowed = (folder / "model_csd2.tflite").read_bytes()
    assert narrowed == metadata.attach(*narrow(NETWORK, "csd2"))
    assert json.loads((folder / "report.json").read_text())["grid"] == "csd2"
    assert (folder / "c/model_csd2.h").is_file()
    assert (folder / "array/model_csd2_model_data.cc").is_file()
    assert run("--check", "--grid=csd2", "model_csd2.tflite") == 0
    assert run("--check", "--grid=csd2", "model.tflite") == 1
    assert "31 bits, not two signed digits" in capsys.readouterr().out
    assert run("--explain", "--grid=csd2", "model_csd2.tflite") == 0
    explained = capsys.readouterr().out
    assert "factors of two signed digits" in explained
    assert "((acc << 1..3) +- acc) >>" in explained
    assert run("--bits=1", "--bits_config=mixed.json", "--output=mixed.tflite", "model.tflite") == 0
    assert run("--grid=csd2", "--add_bits=1", "--output=additions.tflite", "model.tflite") == 0
    assert run("--grid=csd2", "--output_dir=several", "model.tflite") == 0
    assert (folder / "several/model_csd2.tflite").read_bytes() == narrowed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--bits=4 --grid=csd2", "--bits 4 and --grid csd2 exclude each other; leave one of them out"),
        ("--check --bits=4 --grid=csd2", "--bits 4 and --grid csd2 exclude each other; leave one of them out"),
        ("--search --calibration=rows.npz --grid=csd2", "--search tries numbers of bits, and --grid csd2 is none"),
        ("--grid=csd3", "--grid=csd3: value should be one of <csd2>"),
        ("--dump --grid=csd2", "leave out --grid"),
        ("", "--bits K or --grid csd2 is required"),
    ],
)
def test_what_does_not_go_together(folder, capsys, arguments, message):
    assert run(*arguments.split(), "model.tflite") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert {path.name for path in folder.iterdir()} == {"model.tflite"}
