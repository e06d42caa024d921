"""Where Twisted finds the plugin."""

from twbridge_hello import Hello

hello = Hello()
