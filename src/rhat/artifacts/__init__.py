"""Files that rhat writes and reads: results, their schema, directions."""
