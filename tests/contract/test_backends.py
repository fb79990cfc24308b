"""What every backend must do with a sweep: the same ledger, the same table, the same numbers, and nothing twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from suite.launch.submission import submissions
from suite.ledger import Ledger, State, Work
from suite.sweep import Sweep, load_sweep
from tests.contract.test_methods import outcome
from tests.fake_slurm.fixture import PATIENCE
from tests.slurm.conftest import start_cluster  # noqa: F401  the fixture
from tests.slurm.dev_cluster import DevCluster, until
from tests.slurm.sweeps import points

pytestmark = pytest.mark.slow
