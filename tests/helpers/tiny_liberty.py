# SPDX-License-Identifier: Apache-2.0
"""A library of seven standard cells in the Liberty format, with round numbers.

Pins have 1, 2, 3, ... fF in their order; every arc takes 10 ps and 1 ps for each fF that it drives.
"""

VOLTS = 1.0
AREAS = {"INV": 2.0, "NAND2": 4.0, "NOR2": 4.0, "XOR2": 8.0, "BUF": 3.0, "ONE": 1.0, "DFF": 16.0}
_FUNCTIONS = {"INV": "!A", "NAND2": "!(A & B)", "NOR2": "!(A | B)", "XOR2": "A ^ B", "BUF": "A", "ONE": "1"}
_TEMPLATE = """library (tiny) {{
  time_unit : "1ps";
  voltage_unit : "1V";
  capacitive_load_unit (1, ff);
  nom_voltage : {volts};
  slew_lower_threshold_pct_rise : 20; slew_upper_threshold_pct_rise : 80;
  slew_lower_threshold_pct_fall : 20; slew_upper_threshold_pct_fall : 80;
  lu_table_template (table) {{
    variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("1, 100"); index_2 ("0, 50, 100");
  }}
{cells}
}}
"""
_TABLE = '{} (table) {{ index_1 ("1, 100"); index_2 ("0, 50, 100"); values ("10, 60, 110", "10, 60, 110"); }}'


def _arc(pin: str, sense: str) -> str:
    tables = " ".join(_TABLE.format(name) for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition"))
    return f'timing () {{ related_pin : "{pin}"; timing_sense : {sense}; {tables} }}'


def _gate(name: str, function: str) -> str:
    pins = [pin for pin in "AB" if pin in function]
    inputs = " ".join(f"pin ({p}) {{ direction : input; capacitance : {i}; }}" for i, p in enumerate(pins, 1))
    sense = "non_unate" if "^" in function else "negative_unate" if "!" in function else "positive_unate"
    arcs = " ".join(_arc(pin, sense) for pin in pins)
    output = f'pin (Y) {{ direction : output; function : "{function}"; max_capacitance : 1000; {arcs} }}'
    return f"  cell ({name}) {{ area : {AREAS[name]}; {inputs} {output} }}"


_DFF = (
    f"  cell (DFF) {{ area : {AREAS['DFF']};"
    ' ff (IQ, IQN) { clocked_on : "C"; next_state : "D"; }'
    " pin (C) { direction : input; clock : true; capacitance : 1; }"
    " pin (D) { direction : input; capacitance : 2; }"
    ' pin (Q) { direction : output; function : "IQ"; } }'
)


def text(*without: str, volts: str = f"{VOLTS}") -> str:
    """The file.

    Args:
      without: cells that it lacks.
      volts: nominal voltage.
    """
    cells = [_gate(name, function) for name, function in _FUNCTIONS.items() if name not in without]
    return _TEMPLATE.format(volts=volts, cells="\n".join([*cells, *([] if "DFF" in without else [_DFF])]))
