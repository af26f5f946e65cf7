"""Transfer learning for 12-lead ECGs: pre-train, fine-tune, train from scratch, compare."""
