"""Middleware that tells other systems what tasks do: traces of OpenTelemetry, metrics of Prometheus. Each needs its extra."""
