# SPDX-License-Identifier: Apache-2.0
"""A budgeted fuzzing run: no bytes make the exporter raise anything but ModelError, hang, or write a worse model."""

import random

import pytest

from tests.fuzz import acceptance, mutants, structure, target
from tests.helpers.sweeps import sampled
from tflm_export import METHODS

MUTANTS = 400


@pytest.fixture(scope="module")
def seeds():
    return mutants.seeds(60_000)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("seed", sampled(range(8), 3))
def test_mutants(seeds, seed, tmp_path):
    source = random.Random(seed)
    narrowed_count = 0
    for i in range(MUTANTS):
        data = mutants.mutate(source.choice(seeds), source)
        with target.limited(30):
            narrowed = target.exercise(data, source.choice((1, 2, 4, 8, 31)), source.choice(METHODS))
        if narrowed is not None:
            narrowed_count += 1
            (tmp_path / f"{i}.before").write_bytes(data)
            (tmp_path / f"{i}.after").write_bytes(narrowed)
    assert narrowed_count > 0
    assert acceptance.refused(tmp_path) == []


@pytest.mark.sweep(3)
@pytest.mark.parametrize("seed", sampled(range(4), 3))
def test_computed_mutants(seed):
    """Well-formed files whose numbers are damaged: run in some arithmetic, simplified, and written as C."""
    source, built = random.Random(seed), structure.seeds()
    ran = 0
    for _ in range(MUTANTS):
        with target.limited(60):
            ran += target.compute(structure.mutate(source.choice(built), source), source)
    assert ran > MUTANTS // 10


def test_intact_seeds_narrow(seeds):
    assert sum(target.exercise(data, 1, METHODS[0]) is not None for data in seeds) >= 1
