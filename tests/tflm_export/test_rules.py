# SPDX-License-Identifier: Apache-2.0
"""Bits and method operator by operator."""

import concurrent.futures
import json
import signal

import pytest

from tests.helpers import peer
from tests.helpers.tflite_builder import TFLiteBuilder, residual_network
from tflm_export import UsageError, check, narrow
from tflm_export import rules as rules_module
from tflm_export.__main__ import main
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import Grid
from tflm_export.rules import resolve
from tflm_export.rules_file import load_rules
from tflm_export.setting import Setting

NETWORK = residual_network(batch=1)
MODEL = parse(NETWORK)


def test_each_operator_gets_its_own_width():
    rules = {0: 8, r"^branch\d": {"bits": 4}, "logits": 16}
    narrowed, report = narrow(NETWORK, 2, rules=rules)
    wanted = {"stem": 8, "branch0": 4, "branch1": 4, "logits": 16}
    for row in report.rows:
        name = MODEL.subgraphs[0].operators[row.index].outputs[0].name
        assert row.bits == wanted.get(name, 2), name
        assert row.narrow
        factors = peer.subgraphs(narrowed)[0].operators[row.index].factors
        assert max(peer.off_grid(factor, row.bits) for factor in factors) < 2.0**-21
    assert {row.index for row in check(narrowed, 2).offenders} <= {row.index for row in report.rows if row.bits > 2}


def test_an_operator_that_keeps_its_integers_among_others_that_do_not():
    stock = narrow(NETWORK, 31)[0]
    narrowed, report = narrow(NETWORK, 1, rules={"hidden": {"bits": 8, "method": "keep"}})
    (row,) = (r for r in report.rows if r.bits == 8)
    old, new = (peer.subgraphs(data)[0].operators[row.index] for data in (stock, narrowed))
    for before, after in zip(old.inputs[1:], new.inputs[1:], strict=True):
        assert (before.integers == after.integers).all()
    # Its own scales stay, so the bias stands for the same real values as before up to the gain.
    for before, after in ((old.inputs[0], new.inputs[0]), (old.outputs[0], new.outputs[0])):
        assert before.scale == after.scale
    assert 0 < row.gain_error <= 2.0**-8


def test_the_first_rule_that_fits_counts():
    settings = resolve(MODEL, Setting(Grid(4)), {"stem": 1, 0: 8})
    assert settings[0, 0] == Setting(Grid(1))
    assert settings[0, 1] == Setting(Grid(4))


def test_a_rule_for_operators_of_a_type():
    """The type as a whole, and behind the rules before it; the network has ADDs in which the name says so, too."""
    rules = {"identity": 3, "op:ADD|SUB": 8}
    narrowed, report = narrow(NETWORK, 1, rules=rules)
    assert {(row.op, row.name): row.bits for row in report.rows if row.bits != 1} == {
        ("ADD", "identity_add"): 3,
        ("ADD", "branch_add"): 8,
        ("ADD", "constant_add"): 8,
    }
    for operator in peer.subgraphs(narrowed)[0].operators:
        if operator.name == "ADD":
            wanted = 3 if operator.outputs[0].name == "identity_add" else 8
            assert max(peer.off_grid(factor, wanted) for factor in operator.factors) < 2.0**-21


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({99: 4}, "fit no operator with a rescale: 99"),
        ({"nowhere": 4}, "fit no operator with a rescale: 'nowhere'"),
        ({"(": 4}, "neither an operator index nor a regular expression"),
        ({7: 4}, "fit no operator with a rescale: 7"),  # a MAX_POOL_2D
        ({0: 0}, "rule 0: bits must be"),
        ({0: "4"}, "bits must be"),
        ({0: {"bits": 4, "width": 3}}, "width is none of bits, grid, method"),
        ({0: {"method": "kept"}}, "rule 0: method must be one of"),
        ({1.5: 4}, "neither an operator index"),
        ({"op:AD": 4}, "fit no operator with a rescale: 'op:AD'"),
        ({"op:(": 4}, "neither an operator index nor a regular expression"),
    ],
)
def test_rules_that_make_no_sense(rules, words):
    with pytest.raises(UsageError, match=words):
        narrow(NETWORK, 4, rules=rules)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ('{"0": 8, "logits": {"bits": 4, "method": "keep"}}', {0: 8, "logits": {"bits": 4, "method": "keep"}}),
        ("0: 8\nlogits: {bits: 4, method: keep}\n", {0: 8, "logits": {"bits": 4, "method": "keep"}}),
        ("{}", {}),
    ],
)
def test_files(tmp_path, text, rules):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    assert load_rules(str(path)) == rules


BOMB = "\n".join(["x0: &x0 [1]", *(f"x{i + 1}: &x{i + 1} [{', '.join([f'*x{i}'] * 9)}]" for i in range(12))])


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "a: [", "4", "a: 2001-13-45", "a: " + "1" * 5000, '{"a": ' + "1" * 5000 + "}", '{"a": [1]}', BOMB,
     "a: {bits: {b: 1}}", "a: {bits: [1]}", "a: !!map [1]", "!!python/object:os.system {}", "\0"],
    ids=range(14),
)  # fmt: skip
def test_files_that_are_no_rules(tmp_path, text):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"rules\.yaml"):
        load_rules(str(path))


def test_an_index_of_thousands_of_digits_is_none(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text('{"' + "1" * 5000 + '": 4}')
    with pytest.raises(UsageError, match="fit no operator with a rescale: '111"):
        narrow(NETWORK, 1, rules=path)


@pytest.mark.parametrize("opening", ["[", '{"a":', "{a: "])
def test_files_that_are_nested_deeply(tmp_path, opening):
    path = tmp_path / "rules.yaml"
    path.write_text(opening * 100_000)
    with pytest.raises(UsageError, match=r"rules\.yaml is nested too deeply"):
        load_rules(str(path))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"stem": 8, "logits": 4, "stem": 1}', "'stem'"),
        ("stem: 8\nlogits: 4\nstem: 1\n", "'stem'"),
        ('{"0": 8, "00": 4}', "0"),
        ("0: 8\n'0': 4\n", "0"),
        ('{"stem": {"bits": 8, "bits": 4}}', "'bits'"),
        ("stem: {bits: 8, bits: 4}\n", "'bits'"),
    ],
)
def test_keys_that_are_there_twice(tmp_path, text, key):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"rules\.yaml has {key} more than once"):
        load_rules(str(path))


def test_yaml_that_refers_to_itself(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("stem: &wide {bits: 8}\nlogits: *wide\nhidden: {<<: *wide, method: keep}\n")
    wide = {"bits": 8}
    assert load_rules(str(path)) == {"stem": wide, "logits": wide, "hidden": wide | {"method": "keep"}}
    path.write_text("[1, 2]: 8\n")
    with pytest.raises(UsageError, match=r"rules\.yaml"):
        load_rules(str(path))


def aaa() -> bytes:
    """A model whose tensor has a name that `(a+)+$` tries to fit in 2**60 ways."""
    b = TFLiteBuilder()
    x = b.input([1, 4, 4, 2])
    return b.build(x, b.conv(x, 3, name="a" * 60 + "!"))


def test_a_regular_expression_that_takes_forever(monkeypatch):
    monkeypatch.setattr(rules_module, "SECONDS", 0.1)
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(UsageError, match=r"tensors took over 0\.1 s; .* one of '\(a\+\)\+\$'"):
        narrow(aaa(), 1, rules={r"(a+)+$": 4})
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_rules_in_a_thread():
    """Where signals cannot end a search."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert pool.submit(narrow, aaa(), 1, rules={"a!": 4}).result() == narrow(aaa(), 1, rules={"a!": 4})


def test_rules_as_a_path(tmp_path):
    path = tmp_path / "rules.json"
    path.write_text('{"stem": 8}')
    expected = narrow(NETWORK, 1, rules={"stem": 8})
    assert narrow(NETWORK, 1, rules=path) == narrow(NETWORK, 1, rules=str(path)) == expected
    with pytest.raises(UsageError, match="cannot read x: No such file"):
        narrow(NETWORK, 1, rules="x")
    with pytest.raises(UsageError, match="rules must be a dict, or the path of a file of rules, got list"):
        narrow(NETWORK, 1, rules=["stem"])


def test_on_the_command_line(tmp_path, capsys):
    model, rules, report = tmp_path / "model.tflite", tmp_path / "rules.json", tmp_path / "report.json"
    model.write_bytes(NETWORK)
    rules.write_text('{"stem": 8}')
    flags = ["--bits=1", f"--bits_config={rules}", f"--report={report}"]
    assert main(["tflm_export", *flags, str(model)]) == 0
    assert {row["bits"] for row in json.loads(report.read_text())["rows"]} == {1, 8}
    capsys.readouterr()
    rules.write_text('{"steam": 8}')
    assert main(["tflm_export", *flags, "--overwrite", str(model)]) == 2
    assert "rules that fit no operator with a rescale: 'steam'" in capsys.readouterr().err


def test_bits_for_additions_on_the_command_line(tmp_path, capsys):
    model, rules = tmp_path / "model.tflite", tmp_path / "rules.json"
    model.write_bytes(NETWORK)
    rules.write_text('{"identity": 3}')
    written = tmp_path / "model_k1.tflite"
    flags = ["--bits=1", "--nometadata", "--overwrite", str(model)]
    assert main(["tflm_export", "--add_bits=8", *flags]) == 0
    assert written.read_bytes() == narrow(NETWORK, 1, rules={"op:ADD|SUB": 8})[0]
    assert main(["tflm_export", "--add_bits=8", f"--bits_config={rules}", *flags]) == 0
    assert written.read_bytes() == narrow(NETWORK, 1, rules={"identity": 3, "op:ADD|SUB": 8})[0]
    rules.write_text('{"op:ADD|SUB": 4}')  # what the file says counts
    assert main(["tflm_export", "--add_bits=8", f"--bits_config={rules}", *flags]) == 0
    assert written.read_bytes() == narrow(NETWORK, 1, rules={"op:ADD|SUB": 4})[0]
    capsys.readouterr()
    assert main(["tflm_export", "--add_bits=0", *flags]) == 2
    assert "add_bits" in capsys.readouterr().err
    b = TFLiteBuilder()
    x = b.input([1, 4])
    model.write_bytes(b.build(x, b.fully_connected(x, 3)))  # no ADD: nothing to do, and no error
    assert main(["tflm_export", "--add_bits=8", *flags]) == 0
    assert written.read_bytes() == narrow(model.read_bytes(), 1)[0]
