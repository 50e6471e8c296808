"""The Glue indicators job: the prices of a day's last sessions to one row of indicators for each symbol."""

from briquette.aws.glue_indicators import ARGUMENTS, compute
from briquette.aws.glue_runtime import run_script

if __name__ == "__main__":
    run_script(ARGUMENTS, compute)
