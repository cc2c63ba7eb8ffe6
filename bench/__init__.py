"""Measurements as ratios: ours against the bare minimum, interleaved in one run, so that the machine cancels out.

Beside the ratio of what was done a second stands that of processor time, "by CPU": it moves little on a machine that
does other things too, and is blind to waiting.
"""
