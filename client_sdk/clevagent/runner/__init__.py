"""clevagent-runner: watches targets from outside, tells the server, and restarts what it is told to restart."""
