"""Redis: connections, scripts, group commit, key names. Knows no rules."""
