"""Where Twisted finds the dialect."""

from twbridge_cbor import CborDialect

cbor = CborDialect()
