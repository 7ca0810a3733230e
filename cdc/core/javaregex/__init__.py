"""Java regular expressions, parsed exactly and translated for engines whose time can be limited.

`parse` returns the tree of an expression if Java accepts it. `linear_plans` and `backtracking_text` translate the tree
for two kinds of engines, which `cdc.evaluation` runs.
"""

from .backtracking import Unsupported, backtracking_text
from .cursor import TooComplex
from .linear import NotLinear, Plan, linear_plans
from .parser import parse

__all__ = ["NotLinear", "Plan", "TooComplex", "Unsupported", "backtracking_text", "linear_plans", "parse"]
