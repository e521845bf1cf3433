"""Pictures of products: every function takes models and returns a matplotlib `Figure`; none is called by a step."""
