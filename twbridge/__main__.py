"""``python -m twbridge`` is the command ``twbridge``."""

from twbridge.cli import main

main(prog_name="twbridge")
