"""What a run says of itself beside its logs."""
