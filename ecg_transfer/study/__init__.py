"""The study of finished runs: from run directories to tables, effects, learning curves, speed and verdicts.

It reads run directories and never a signal. The way of a study:

1. `results.read_study` makes tidy tables of runs: one row a run, one a label, one an epoch.
2. `pairs.find_cells` joins each fine-tuning with the training from scratch that differs from it in the start alone, and
   gathers the pairs that differ in their seeds alone into cells.
3. `effects.cell_effects` gives each cell's difference with an interval over test patients and seeds.
4. `learning_curve`, `equivalence`, `speed` and `optimism` say how much data, how soon, and how honest.
5. `claims.judge` holds the paper's four claims against all that.
"""
