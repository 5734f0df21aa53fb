"""The Author Domain: what the From header fields say (RFC 5322 §3.4, RFC 9989 §5.3.1). `parse_author` is the way in."""

from authmilter.author.parse import MAX_DOMAINS, parse_author

__all__ = ["MAX_DOMAINS", "parse_author"]
