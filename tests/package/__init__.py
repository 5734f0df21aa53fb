"""`make try-package`: the Debian package in Debian 12 and 13, each with a systemd of its own. See `__main__`."""
