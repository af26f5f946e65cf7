"""The paper's figures, drawn from effects and curves: one kind of figure a file.

Each function takes a `Setting` and gives an `Exhibit`, or None where the study has nothing for it. A place that has no
runs is shown as empty, never filled in.
"""
