"""The long-lived worker: takes requests from a broker until it is told to stop."""
