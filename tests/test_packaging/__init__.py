"""Tests of what is installed: units, package."""
