"""What the mount tests have in common: daemons, sources, watchers, other users, memory."""
