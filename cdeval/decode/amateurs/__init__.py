"""The kinds of amateurs, one file each. A new kind is one more file here, or a user's own one (`plugin`)."""
