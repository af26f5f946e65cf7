"""The study of runs: a YAML file becomes a plan of runs, the plan is run, finished runs become the paper's exhibits."""
