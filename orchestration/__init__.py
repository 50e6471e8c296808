"""The flow on AWS: handlers, stacks, alarms, and the state machine that ties them."""
