"""To InfluxDB: a run's figures, sent by a process that the training never waits for from files that it leaves."""
