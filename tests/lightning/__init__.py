"""What ours and pytorch_lightning have in common, held against the real package."""
