"""SMTP TLS reports (RFC 8460): what happened to our outgoing TLS, counted by day and told to the domains that ask."""
