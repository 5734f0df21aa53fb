"""Header fields of results: what is written into a message, and which incoming fields pass for ours."""
