"""Published tables: a spec of rows and columns, trials, published figures -> one list of cells -> every form.

`spec` reads a spec and tells its mistakes, `metrics` says what a cell can show, `fill` finds trials, figure and verdict for each
cell, `grids` writes the cells as texts, `render` lays them out.
"""

from suite.report.specs.fill import Filled, fill
from suite.report.specs.render import print_filled, write_filled
from suite.report.specs.spec import Spec, is_spec, load_spec

__all__ = ["Filled", "Spec", "fill", "is_spec", "load_spec", "print_filled", "write_filled"]
