"""The S3 buckets and the objects that pins name."""
