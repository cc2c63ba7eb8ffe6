"""Measurements as ratios: ours against the bare minimum, interleaved in one run, so that the machine cancels out."""
