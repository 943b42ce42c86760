"""clevagent-runner: watches targets from outside, reports them to the server and restarts them on command."""
