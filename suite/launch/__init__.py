"""From a sweep to finished trials: plan what is missing, show it, run it. One file per backend."""
