"""Tensor mathematics of quantization: clustering in one dimension, codebooks, partitions. No files, no training, no globals."""
