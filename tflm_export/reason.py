# SPDX-License-Identifier: Apache-2.0
"""Why an operator is not narrowed, for people and for machines."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a rescale cannot be narrowed.

    Attributes:
      text: for people; names the tensors concerned.
      obstacle: the same without names, equal for all operators that it stops, so that they can be counted.
    """

    text: str
    obstacle: str

    @classmethod
    def about(cls, subject: str, obstacle: str) -> "Reason":
        """What is said of something with a name, e.g. `about("weight tensor 3 (w)", "has no scale")`."""
        return cls(f"{subject} {obstacle}", obstacle)

    @classmethod
    def of(cls, problem: "Reason | str") -> "Reason":
        """What an operator gives as the problem: a Reason, or a text without names."""
        return problem if isinstance(problem, Reason) else cls(problem, problem)
