"""docs/standards.md: which RFCs the code cites, and where, out of the citations themselves.

A citation has the shape `RFC 7208 §4.6.4`, with further sections of the same RFC behind it (`RFC 6376 §3.5, §6.1.1`).
titles.toml has the numbers that are known, with their titles; another number is taken for a slip of the pen.
"""
