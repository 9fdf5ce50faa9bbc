# SPDX-License-Identifier: Apache-2.0
"""The exceptions this package raises on purpose."""


class ModelError(ValueError):
    """The model cannot be read or narrowed; the message names the offender and the fix."""


class UsageError(ValueError):
    """The caller asked for something that is not on offer; the message says what is."""
