"""`python -m modelport` is the command line."""

from modelport.cli import main

main()
