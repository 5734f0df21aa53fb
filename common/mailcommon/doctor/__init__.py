"""What the command `doctor` of both daemons shares: facts of the host read at one end, pure rules, findings, output."""
