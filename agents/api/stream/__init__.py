"""`/api/v1/events`: server-sent events."""
