"""Simulated corpora: a dipole model of the heart, written to disk in each corpus's published layout."""

from data_modules.simulation.conditions import CONDITIONS
from data_modules.simulation.recording import simulate_ecg
from data_modules.simulation.simulated_corpus import SIMULATED_SIZES, is_simulated, simulate_corpus

__all__ = ["CONDITIONS", "SIMULATED_SIZES", "is_simulated", "simulate_corpus", "simulate_ecg"]
