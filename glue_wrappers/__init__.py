"""AWS Glue: the engine's plan and kernel with Spark as the scheduler, and the Glue jobs' entry points."""
