"""What is revoked, tokens and sessions alike: in force here, kept on disk and in Redis."""
