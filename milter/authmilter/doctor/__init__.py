"""`authmilter doctor`: is this host right for authmilter? Facts are read in `read`, one module of rules per area."""
