"""`python -m robolearn`: the command line."""

from robolearn.cli import main

main()
