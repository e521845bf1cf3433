"""What a notebook imports: `reduce` and its products."""
