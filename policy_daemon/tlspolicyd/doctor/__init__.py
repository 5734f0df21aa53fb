"""`tlspolicyd doctor`: is this host right for tlspolicyd? Facts are read in `read`, one module of rules per area."""
