"""What watches a training, one concern a file, independent of each other."""
