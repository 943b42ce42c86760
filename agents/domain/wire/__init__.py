"""From the body of a request to heartbeats: decoding, what of them can be kept, names, and the sender's clock. Pure."""
