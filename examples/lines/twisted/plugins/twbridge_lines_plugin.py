"""Where Twisted finds the plugin."""

from twbridge_lines import Lines

lines = Lines()
