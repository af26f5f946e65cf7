"""`make bench`, or `python experiments/benchmarks/bench.py --help`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # this folder's file names are none of the world's business
    from experiments.benchmarks.command import main

    main()
