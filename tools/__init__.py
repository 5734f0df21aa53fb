"""Programs for those who work on Gatepost itself; none of them is installed."""
