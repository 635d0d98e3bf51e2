"""How image sets lie on disk: folders of images, arrays, tar shards, Arrow and Parquet files."""
