"""Simulated corpora: a dipole model of the heart, written to disk in each corpus's published layout."""
