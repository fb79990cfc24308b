"""Reproduces SLQ/MLQ (AAAI 2018) and neighbouring quantization methods as sweeps of traceable trials."""
