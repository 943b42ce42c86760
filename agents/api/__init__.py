"""`/api/v1/`: one noun a file. A view authenticates, parses, calls one service and answers."""
