"""Signing of our own mail: DKIM-Signature fields (RFC 6376 §5), and the private-key operation that ARC seals share."""
