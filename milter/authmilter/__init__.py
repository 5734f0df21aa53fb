"""The inbound gate: a milter that authenticates mail with SPF, DKIM and DMARC and carries out DMARC policy."""
