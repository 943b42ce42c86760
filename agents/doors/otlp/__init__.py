"""OTLP/HTTP: from a request's bytes to spans, logs and metric points, whatever the encoding. Pure."""
