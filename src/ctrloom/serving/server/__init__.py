"""Open Inference Protocol v2 over HTTP and gRPC: raw rows in, probabilities out.

One process: the main thread waits for signals, one thread runs the event loop, a small pool scores large
requests, and one thread polls the registry. A request keeps the model that it began with.
"""
