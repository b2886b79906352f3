"""One job of a comparison."""
