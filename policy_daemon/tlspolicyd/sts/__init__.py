"""MTA-STS of the sender (RFC 8461): the TXT record, the policy text, and the way to fetch it."""
