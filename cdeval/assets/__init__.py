"""Files that cdeval fetches: pinned wheels, their conversion, and the model hub."""
