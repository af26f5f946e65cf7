"""The user's own corpora: looked at once, described by a small YAML file, read like any published one."""
