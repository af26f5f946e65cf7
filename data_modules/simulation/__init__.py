"""Simulated corpora: a dipole model of the heart, written to disk in each corpus's published layout."""

from data_modules.simulation.conditions import CONDITIONS
from data_modules.simulation.recording import simulate_ecg

__all__ = ["CONDITIONS", "simulate_ecg"]
