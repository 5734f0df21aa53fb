"""What watches the daemons: alert rules and dashboard against a real Prometheus."""
