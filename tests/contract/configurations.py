"""The configurations over which the contract of methods runs. A new method adds its own here and inherits the whole list."""

from __future__ import annotations

from typing import Any

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "kmeans-4": {"name": "kmeans", "bits": 4},
    "kmeans-2-quantile": {"name": "kmeans", "bits": 2, "init": "quantile"},
    "kmeans-3-tuned": {"name": "kmeans", "bits": 3, "tune": "mean"},
    "slq-5": {"name": "slq", "bits": 5},
    "slq-4-magnitude": {"name": "slq", "bits": 4, "partition": "magnitude"},
    "slq-3-network": {"name": "slq", "bits": 3, "scope": "network"},
    "slq-2-random": {"name": "slq", "bits": 2, "partition": "random"},
    "slq-3-reverse-free-zero": {"name": "slq", "bits": 3, "partition": "reverse", "pin_zero": False, "init": "linear"},
    "slq-3-skips": {"name": "slq", "bits": 3, "quantize_first": False, "quantize_last": False, "train_biases": False},
    "mlq-2": {"name": "mlq", "bits": 2},
    "mlq-3-loss": {"name": "mlq", "bits": 3, "order": "loss", "groups": 2},
    "mlq-2-together": {"name": "mlq", "bits": 2, "compensation": False},
    "inq-5": {"name": "inq", "bits": 5},
    "inq-2-random": {"name": "inq", "bits": 2, "partition": "random", "portions": [0.4, 0.8, 1]},
    "twn-layer": {"name": "twn"},
    "twn-filter": {"name": "twn", "threshold": 0.75, "scope": "filter"},
    "ttq": {"name": "ttq", "quantize_last": True},
    "ttq-sparsity": {"name": "ttq", "sparsity": 0.5, "quantize_first": True, "quantize_last": True},
    "deep-compression": {"name": "deep-compression", "conv_bits": 5, "fc_bits": 3, "tune_rate": 0.01},
    "hessian-4": {"name": "hessian", "bits": 4},
    "hessian-clusters-adam-tuned": {"name": "hessian", "clusters": 6, "curvature": "adam", "tune": "mean"},
    "hessian-3-layer": {"name": "hessian", "bits": 3, "scope": "layer", "tune": "sum", "tune_rate": 0.01},
    "ecsq-uniform": {"name": "ecsq", "clusters": 9},
    "ecsq-uniform-rate-tuned": {"name": "ecsq", "rate": 2.5, "curvature": "none", "tune": "mean"},
    "ecsq-iterative": {"name": "ecsq", "kind": "iterative", "rate": 2.0, "scope": "layer"},
    "universal-z": {"name": "universal", "step": 1.0},
    "universal-a2-tuned": {"name": "universal", "lattice": "A2", "step": 1.5, "tune": "mean"},
    "universal-e8": {"name": "universal", "lattice": "E8", "step": 3.0},
    "universal-z3-plain-tuned": {"name": "universal", "step": 2.0, "dimension": 3, "dither": False, "tune": "sum"},
    "soft-to-hard": {"name": "soft-to-hard", "clusters": 7},
    "soft-to-hard-vectors": {"name": "soft-to-hard", "clusters": 8, "dimension": 2, "scope": "layer"},
    "som-3": {"name": "som", "bits": 3},
    "som-2-online-tuned": {"name": "som", "bits": 2, "training": "online", "tune": "mean"},
    "mixed-loss": {"name": "mixed", "budget": 3.5},
    "mixed-hessian-tuned": {"name": "mixed", "budget": 4, "sensitivity": "hessian", "tune": "mean"},
    "deep-compression-density": {"name": "deep-compression", "init": "density", "tune": "none", "fc_bits": 4},
}

# Method and options that no trial may have.
BAD: list[tuple[str, dict[str, Any]]] = [
    ("kmeans", {"bits": 1}),
    ("kmeans", {"bits": 9}),
    ("kmeans", {"bits": 3, "tune": "median"}),
    ("slq", {"bits": 1}),
    ("slq", {"bits": 5, "schedule": [5, 9, 13]}),
    ("slq", {"bits": 3, "schedule": [5, 3]}),
    ("slq", {"bits": 3, "schedule": []}),
    ("slq", {"bits": 3, "partition": "biggest"}),
    ("slq", {"bits": 3, "wat": 1}),
    ("mlq", {"bits": 5}),
    ("mlq", {"bits": 2, "groups": 0}),
    ("mlq", {"bits": 2, "groups": 2, "compensation": False}),
    ("mlq", {"bits": 2, "schedule": [3, 2]}),
    ("mlq", {"bits": 2, "order": "loss", "compensation": False}),
    ("inq", {"bits": 9}),
    ("inq", {"bits": 5, "portions": [0.5, 0.75]}),
    ("inq", {"bits": 5, "portions": [0.5, 0.4, 1]}),
    ("inq", {"bits": 5, "portions": []}),
    ("twn", {"bits": 3}),
    ("twn", {"threshold": 0}),
    ("ttq", {"threshold": 1}),
    ("ttq", {"sparsity": 1}),
    ("deep-compression", {"fc_bits": 9}),
    ("hessian", {}),
    ("hessian", {"bits": 3, "clusters": 5}),
    ("hessian", {"bits": 3, "curvature": "fisher"}),
    ("ecsq", {}),
    ("ecsq", {"rate": 2, "clusters": 5}),
    ("ecsq", {"kind": "iterative", "step": 0.1}),
    ("hessian", {"clusters": 257}),
    ("ecsq", {"kind": "iterative", "slope": 0}),
    ("universal", {}),
    ("universal", {"step": 0.5, "rate": 2}),
    ("universal", {"step": 0}),
    ("universal", {"step": 0.5, "lattice": "D4", "dimension": 4}),
    ("soft-to-hard", {"clusters": 1}),
    ("soft-to-hard", {"sigma_start": 10, "sigma_end": 1}),
    ("soft-to-hard", {"beta": -1}),
    ("som", {"bits": 9}),
    ("som", {"bits": 3, "phases": [{"passes": 1, "radius": [0.5, 0]}]}),
    ("mixed", {"budget": 1}),
    ("mixed", {"budget": 4, "widths": [4, 3]}),
    ("deep-compression", {"init": "kmeans++"}),
]


def most_values(method: dict[str, Any]) -> int | None:
    """How many distinct values a layer may have that is not pruned; None: the method promises none."""
    match method["name"]:
        case "full":
            return None
        case "twn" if method.get("scope") == "filter":
            return None  # three for each filter, which the contract looks at, too
        case "deep-compression":
            return int(2 ** max(method.get("conv_bits", 8), method.get("fc_bits", 5)))
        case "mixed":
            return 2**7 + 1
        case "universal":
            return None
        case "soft-to-hard" if method.get("dimension", 1) > 1:
            return int(method["clusters"] * method["dimension"])
        case "hessian" | "ecsq" | "soft-to-hard" if "clusters" in method:
            return int(method["clusters"])
        case _ if "bits" in method or method["name"] == "ttq":
            return int(2 ** (method.get("bits", 2) - 1) + 1)
        case _:
            return None
