"""Reading, writing and verifying the Parquet files of a data set."""
