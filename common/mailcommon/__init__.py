"""What both daemons need: names, DNS, settings, logs."""
