"""Redis: connections, scripts, group commit, key names. Contains no rules."""
