"""The policies that are known: a bounded memory in front of a store that survives the daemon."""
