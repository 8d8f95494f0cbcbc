"""`python -m robolearn`: the command line."""

from robolearn.cli.app import main

main()
