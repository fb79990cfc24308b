"""The quantized network as a file, and what it takes in bits."""
