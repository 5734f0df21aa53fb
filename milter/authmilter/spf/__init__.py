"""SPF (RFC 7208): one adapter around pyspf."""
