"""What runs in the Fargate task: one command of the engine, its result document, and a way to be stopped."""
