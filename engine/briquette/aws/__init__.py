"""What AWS starts, a Glue job or a Fargate task: from arguments to one call and its result."""
