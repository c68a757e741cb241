"""What happens in a worker, in beat and in Flower beside the tasks themselves."""
