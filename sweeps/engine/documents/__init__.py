"""What is written of a study: Parquet, tables, pages."""
