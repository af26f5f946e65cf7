"""`python -m ecg_transfer`: the command line, where the console script is not on the path."""

from ecg_transfer.cli import main

main()
