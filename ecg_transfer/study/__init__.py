"""A study: from a YAML file to its runs, and from the runs to a judgement and a report.

Its parts, in the order of their use: `definition` reads the file, `plan` names every run, `estimate` says what they
will cost, `local` and `ray_engine` do them, `status` says how far they are; `results` makes tidy tables, `effects`,
`learning_curve`, `equivalence`, `speed`, `optimism` and `claims` judge them. Only run directories are read here, never
signals.
"""
