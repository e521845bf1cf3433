"""Recipes: which steps, in which order; and the planners that say which recipes a night needs."""
