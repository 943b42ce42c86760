"""`/api/v1/`, one resource per file. A view authenticates, parses, calls one service and responds."""
