"""The prelude of all modes: from the array as read to electrons with variance and mask."""
