"""The Glue compaction job: a table-day of raw objects to one published dataset."""

from briquette.aws.glue_compaction import ARGUMENTS, compact
from briquette.aws.glue_runtime import run_script

if __name__ == "__main__":
    run_script(ARGUMENTS, compact)
