"""Who somebody is, for how long, and the forms in which that travels."""
