"""Reference stars: a local store by place on the sky, cones from services, and one way to ask for either."""
