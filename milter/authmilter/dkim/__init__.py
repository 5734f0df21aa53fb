"""DKIM verification (RFC 6376, RFC 8301, RFC 8463, RFC 8616). `check.DkimCheck` is the way in."""
