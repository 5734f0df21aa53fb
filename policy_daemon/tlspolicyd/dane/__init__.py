"""DANE for SMTP (RFC 7672): which MX hosts have signed TLSA records."""
