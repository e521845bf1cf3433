"""Numbers that judge a product."""
