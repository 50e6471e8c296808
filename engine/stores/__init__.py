"""What ``engine.store`` opens: local disk, S3 and memory, with their requests, retries and errors."""
