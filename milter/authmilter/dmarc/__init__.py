"""DMARC (RFC 9989). `evaluate.evaluate` is the way in; `evaluate.names_to_start` names the look-ups to begin early."""
