"""Values into typed columns: what a record becomes, or why it is a reject."""
