"""Compiled pipelines and their runners; the only part of the library that uses KFP."""
