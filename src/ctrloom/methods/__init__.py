"""Search methods for feature interactions."""
