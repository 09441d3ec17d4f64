"""TensorBoard, on an origin of its own: the console hands whoever may see all jobs over to it."""
