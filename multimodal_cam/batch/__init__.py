"""Many photos: engines that work through them, and the folder that grows with their results."""
