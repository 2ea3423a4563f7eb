"""Speed: one harness, one file of rows per topic."""
