"""HTTPS documents from hosts that strangers choose: fetched with limits on all of it, and never from inside."""
