"""To MLflow: a run's settings, curves, machines, report and network, logged to a tracking server from its folder."""
