"""Figures for Prometheus: counted by the workers in shared files, shown by a process of its own."""
