"""The rules of plausibility, one file each. A new rule is one more file here, or a user's own one (`plugin`)."""
