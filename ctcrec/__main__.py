"""`python -m ctcrec` is the `ctcrec` command."""

from ctcrec.cli.main import main

main()
