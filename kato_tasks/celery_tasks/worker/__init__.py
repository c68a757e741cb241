"""What workers, beat and Flower do beside running tasks."""
