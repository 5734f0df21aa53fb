"""What the metrics of both daemons share: the page that Prometheus reads, and labels that stay few."""
