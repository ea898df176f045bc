"""Where traces, logs and large texts live: S3, or a directory."""
