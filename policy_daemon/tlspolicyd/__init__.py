"""The outbound gate: answers Postfix's questions about the TLS policy of a next-hop."""
