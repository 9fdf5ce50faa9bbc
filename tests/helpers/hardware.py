# SPDX-License-Identifier: Apache-2.0
"""How much the tests of hardware try: `make hardware-test` all of it, the gate what is quick."""

import os

ALL = "HARDWARE_TESTS" in os.environ
