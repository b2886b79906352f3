"""Compiled pipelines, and running them; the only part of the library that knows KFP."""
