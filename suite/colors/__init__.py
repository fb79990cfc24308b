"""Fewer colours for an image: what self-organizing maps were first used for as quantizers, measured beside the usual methods."""
