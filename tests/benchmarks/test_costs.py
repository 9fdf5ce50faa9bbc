# SPDX-License-Identifier: Apache-2.0
"""The exporter's cost model beside the emulator's count."""

import numpy as np
import pytest

from benchmarks import costs
from benchmarks.cost_samples import Sample, measure, samples, ways
from benchmarks.random_layers import ENDS, KINDS, Layers
from tflm_export.c import cost

WITHIN = 0.05
SHARE = 0.8  # of layers; C, which compilers write out differently from layer to layer, is further off in small ones


@pytest.fixture(scope="module", params=costs.CPUS)
def measured(request):
    """Layers that the table was not fitted to."""
    return samples(request.param, seed=12345, count=2)


@pytest.mark.slow
def test_modelled_cycles_are_those_of_the_emulator(measured):
    exact = [s for s in measured if not costs.is_wide(s.work)]
    assert len(exact) > 40
    model, counted = (np.array(values) for values in ([cost.cycles(s.work) for s in exact], [s.cycles for s in exact]))
    off = np.abs(model / counted - 1)
    assert np.mean(off < WITHIN) > SHARE
    assert np.median(off) < WITHIN / 2
    assert abs(model.sum() / counted.sum() - 1) < WITHIN / 2


@pytest.mark.slow
def test_every_kernel_is_in_the_table(measured):
    assert {s.work.kernel for s in measured} <= set(cost.table())


@pytest.mark.slow
def test_what_is_chosen_is_nearly_the_fastest(measured):
    _, _, more = costs.regret(measured, cost.table())
    assert more < 0.01


def work(kernel: str = "kernel", **counts: float) -> cost.Work:
    return cost.Work(kernel, counts, {"layer": 1, "loop": counts.get("steps", 0)})


def test_a_fit_finds_what_the_parts_take():
    random = np.random.default_rng(0)
    found = []
    for number in range(20):
        counts = {"layer": 1, "steps": int(random.integers(1, 99)), "pairs shift": int(random.integers(1, 99))}
        spent = 300 + 17 * counts["steps"] + 5.5 * counts["pairs shift"]
        found.append(Sample(number, work(**counts), spent, 70, 60 * counts["steps"]))
    parts = costs.fit(found)
    assert parts["cycles"] == pytest.approx({"layer": 300, "steps": 17, "pairs shift": 5.5}, rel=1e-3)
    assert parts["bytes"] == pytest.approx({"layer": 70, "loop": 60}, rel=1e-3)
    assert np.abs(costs.errors(found, parts)).max() < 1e-3


def test_ends_in_64_bits_say_nothing_of_other_parts():
    exact = [Sample(n, work(steps=n), 17 * n, 1, 1) for n in (1, 5, 9)]
    slow = [Sample(n, cost.Work("kernel", {"steps": n, "pairs wide": 2}, {}), 17 * n + 800, 1, 1) for n in (1, 5, 9)]
    parts = costs.fit([*exact, *slow])
    assert parts["cycles"] == pytest.approx({"steps": 17, "pairs wide": 400}, rel=1e-3)


def test_regret_is_what_other_ways_would_have_saved():
    model = {"a": {"cycles": {"steps": 2}}, "b": {"cycles": {"steps": 3}}}
    found = [Sample(0, work("a", steps=10), 30, 1, 1), Sample(0, work("b", steps=10), 20, 1, 1)]
    found += [Sample(1, work("a", steps=1), 80, 1, 1), Sample(1, work("b", steps=1), 90, 1, 1)]
    found += [Sample(2, work("a", steps=1), 1000, 1, 1)]
    assert costs.regret(found, model) == (2, 1, pytest.approx((30 + 80) / (20 + 80) - 1))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_what_they_are_called(kind, end):
    layers = Layers(7)
    forms = [layers.layer(kind, end) for _ in range(8)]
    outputs = [form.evaluate(x[None])[0] for form, x in zip(forms, layers.inputs(forms), strict=True)]
    every = np.concatenate([y.ravel() for y in outputs])
    assert 0.8 < np.mean((every > -128) & (every < 127)) < 1  # scales fit the sums
    assert {form.is_depthwise for form in forms} == {kind in ("depthwise", "any depthwise", "multiplied")}
    assert all(form.input_channels <= 3 for form in forms) == (kind == "first")
    known = set(cost.table())
    assert all({way.work.kernel for way in ways(form, "cortex-m4")} <= known for form in forms)


def test_wrong_outputs_are_refused():
    form = Layers(3).layer("pointwise", "shift")
    (way,) = ways(form, "cortex-m4")[:1]
    spoilt = way.constants | {"weights": np.zeros_like(way.constants["weights"])}
    broken = type(way)(**{**way.__dict__, "constants": spoilt})
    with pytest.raises(ValueError, match="does not compute the layer"):
        measure([broken], [form], Layers(3).inputs([form]), "cortex-m4")
