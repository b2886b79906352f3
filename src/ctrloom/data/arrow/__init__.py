"""Arrow columns: dictionary encoding, factorization and take."""
