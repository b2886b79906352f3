"""`python -m ctrloom` is the command `ctrloom`."""

from ctrloom.cli import main

main()
