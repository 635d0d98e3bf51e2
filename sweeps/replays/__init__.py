"""Finished grids of the miniature, over which `zsr replay --grid` tries searches out.

Each file holds what the trials of one grid cost and scored, at their rungs and at the end, three seeds a cell. These
commands made them:

    python sweeps/NAME.py --seeds 3 --stop watch --local   # the first: sweeps/replays/NAME.py
    zsr replay --study results/NAME --keep sweeps/replays/NAME.parquet
"""
