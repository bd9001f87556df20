"""What is simulated: problem, areas, images, vectors; no dynamics."""
