"""Generated texts that exist already, ours or anybody's, to the records that are scored."""
