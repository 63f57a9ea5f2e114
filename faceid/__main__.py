"""`python -m faceid` is `faceid`."""

from faceid.cli import main

main()
