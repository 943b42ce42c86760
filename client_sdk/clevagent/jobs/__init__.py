"""`clevagent run`, `ping`, `start` and `fail`: jobs of any language, watched from outside."""
