"""Who is here: connections, workers, heartbeats, the online count."""
