"""ARC validation (RFC 8617). `check.ArcCheck` is the way in."""
