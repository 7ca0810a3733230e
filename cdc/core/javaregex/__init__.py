"""Java's regular expressions, read exactly and rewritten for engines whose time can be bounded.

`parse` tells whether Java would accept a text, and what it means. `linear_plans` and `backtracking_text` write that
down for two kinds of engines; running those is the shell's part.
"""

from .backtracking import Unsupported, backtracking_text
from .cursor import TooComplex
from .linear import NotLinear, Plan, linear_plans
from .parser import parse

__all__ = ["NotLinear", "Plan", "TooComplex", "Unsupported", "backtracking_text", "linear_plans", "parse"]
