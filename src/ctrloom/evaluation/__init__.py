"""How good models are, whether they differ, and the page that says so."""
